//! JSON schemas and Google's older subset of them (OpenAPI's, with types in capitals), both ways.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::dialect::format::Fault;
use crate::dialect::hub::Json;
use crate::dialect::read;

/// Most objects of a schema that references are resolved in: each use of a definition is written out.
const NODES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 64;

/// A schema in Google's subset as JSON schema; one that is JSON schema already is borrowed.
pub fn json_schema<'a>(at: &str, raw: &'a RawValue) -> Result<Json<'a>, Fault> {
    let capitals =
        ["\"STRING\"", "\"OBJECT\"", "\"ARRAY\"", "\"INTEGER\"", "\"NUMBER\"", "\"BOOLEAN\"", "\"nullable\""];
    if !capitals.iter().any(|name| raw.get().contains(name)) {
        return Ok(Json::Borrowed(raw));
    }
    let mut value: Value = read::value(at, raw)?;
    plain(&mut value, true);
    owned(at, &value)
}

fn owned<'a>(at: &str, value: &Value) -> Result<Json<'a>, Fault> {
    to_raw_value(value).map(Json::Owned).map_err(|error| Fault::invalid(at, error.to_string()))
}

/// Types in small letters, `nullable` as a type. `schema`: the value is a schema, not a map of them.
fn plain(value: &mut Value, schema: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, schema)),
        Value::Object(members) if schema => {
            members.remove("propertyOrdering");
            members.remove("property_ordering");
            let nullable = members.remove("nullable") == Some(Value::Bool(true));
            if let Some(Value::String(kind)) = members.get_mut("type") {
                kind.make_ascii_lowercase();
            }
            if let Some(any_of) = members.remove("any_of") {
                members.insert("anyOf".to_string(), any_of);
            }
            if nullable && let Some(Value::String(kind)) = members.get("type").cloned() {
                members.insert("type".to_string(), vec![kind, "null".to_string()].into());
            }
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "properties" | "$defs" | "definitions" => plain(member, false),
                    "items" | "anyOf" | "oneOf" | "allOf" | "prefixItems" | "additionalProperties" => {
                        plain(member, true);
                    }
                    // Google writes 64-bit numbers as texts.
                    "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                        if let Some(number) = member.as_str().and_then(|text| text.parse::<u64>().ok()) {
                            *member = number.into();
                        }
                    }
                    _ => {}
                }
            }
        }
        Value::Object(members) => members.values_mut().for_each(|member| plain(member, true)),
        _ => {}
    }
}

/// A JSON schema in Google's subset, for models that know nothing else: references written out, what the subset lacks
/// left out.
pub fn subset(at: &str, raw: &RawValue) -> Result<Box<RawValue>, Fault> {
    let root: Value = read::value(at, raw)?;
    let mut writing = Subset { at, root: &root, nodes: 0 };
    let schema = writing.schema(&root, 0)?;
    to_raw_value(&schema).map_err(|error| Fault::invalid(at, error.to_string()))
}

struct Subset<'v> {
    at: &'v str,
    root: &'v Value,
    nodes: usize,
}

impl Subset<'_> {
    fn schema(&mut self, value: &Value, depth: usize) -> Result<Value, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let reason =
                "this model takes no recursive schemas, and none that are this large with references written out";
            return Err(Fault::invalid(self.at, reason));
        }
        let Value::Object(members) = value else { return Ok(Value::Object(Map::new())) };
        if let Some(Value::String(reference)) = members.get("$ref") {
            let place = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            let Some(place) = place else {
                return Err(Fault::invalid(self.at, format!("nothing is defined at {reference}")));
            };
            return self.schema(&place, depth + 1);
        }
        let mut out = Map::new();
        for (name, member) in members {
            self.member(&mut out, name, member, depth)?;
        }
        if !out.contains_key("type") && out.contains_key("properties") {
            out.insert("type".to_string(), "OBJECT".into());
        }
        Ok(Value::Object(out))
    }

    fn member(&mut self, out: &mut Map<String, Value>, name: &str, member: &Value, depth: usize) -> Result<(), Fault> {
        let mut put = |name: &str, value: Value| _ = out.insert(name.to_string(), value);
        match (name, member) {
            ("type", Value::String(kind)) => put("type", kind.to_ascii_uppercase().into()),
            ("type", Value::Array(kinds)) => {
                let named: Vec<&str> = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
                if named.len() < kinds.len() {
                    put("nullable", true.into());
                }
                match named[..] {
                    [only] => put("type", only.to_ascii_uppercase().into()),
                    _ => {
                        let each = |kind: &&str| serde_json::json!({"type": kind.to_ascii_uppercase()});
                        put("anyOf", named.iter().map(each).collect());
                    }
                }
            }
            ("properties", Value::Object(properties)) => {
                let mut written = Map::new();
                for (name, schema) in properties {
                    written.insert(name.clone(), self.schema(schema, depth + 1)?);
                }
                put("properties", Value::Object(written));
            }
            ("items", schema) => put("items", self.schema(schema, depth + 1)?),
            ("anyOf" | "oneOf", Value::Array(schemas)) => {
                let null = |schema: &Value| schema.get("type").is_some_and(|kind| kind == "null");
                if schemas.iter().any(null) {
                    put("nullable", true.into());
                }
                let others = schemas.iter().filter(|schema| !null(schema));
                let written = others.map(|schema| self.schema(schema, depth + 1)).collect::<Result<Vec<_>, _>>()?;
                put("anyOf", written.into());
            }
            ("allOf", Value::Array(schemas)) => {
                for schema in schemas {
                    if let Value::Object(merged) = self.schema(schema, depth + 1)? {
                        out.extend(merged);
                    }
                }
            }
            ("const", Value::String(text)) => put("enum", vec![text.clone()].into()),
            // Of other values than texts the subset knows no list.
            ("enum", Value::Array(values)) if values.iter().all(Value::is_string) => put("enum", member.clone()),
            ("format", Value::String(format))
                if ["enum", "date-time", "int32", "int64", "float", "double"].contains(&format.as_str()) =>
            {
                put("format", member.clone());
            }
            (
                "title" | "description" | "required" | "nullable" | "minItems" | "maxItems" | "minimum" | "maximum"
                | "minLength" | "maxLength" | "minProperties" | "maxProperties" | "pattern" | "propertyOrdering",
                _,
            ) => put(name, member.clone()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).expect("JSON")
    }

    fn value(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).expect("JSON")
    }

    #[test]
    fn googles_subset_becomes_json_schema() {
        let google = raw(&json!({"type": "OBJECT", "propertyOrdering": ["type"], "properties": {
            "type": {"type": "STRING", "nullable": true},
            "many": {"type": "ARRAY", "minItems": "2", "items": {"type": "INTEGER"}}}}));
        let plain = json_schema("s", &google).expect("schema");
        assert_eq!(
            value(&plain),
            json!({"type": "object", "properties": {"type": {"type": ["string", "null"]},
                "many": {"type": "array", "minItems": 2, "items": {"type": "integer"}}}})
        );
        let same = raw(&json!({"type": "object"}));
        assert!(matches!(json_schema("s", &same), Ok(Json::Borrowed(_))));
    }

    #[test]
    fn json_schema_becomes_googles_subset() {
        let schema = raw(&json!({"$schema": "x", "type": "object", "additionalProperties": false, "$defs": {
            "p": {"type": "object", "properties": {"c": {"const": "a"}}}}, "properties": {
            "p": {"$ref": "#/$defs/p"}, "n": {"type": ["integer", "null"]},
            "u": {"oneOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}}}));
        assert_eq!(
            value(&subset("s", &schema).expect("schema")),
            json!({"type": "OBJECT", "properties": {
                "p": {"type": "OBJECT", "properties": {"c": {"enum": ["a"]}}},
                "n": {"type": "INTEGER", "nullable": true},
                "u": {"anyOf": [{"type": "STRING"}], "nullable": true}}})
        );
    }

    #[test]
    fn recursive_schemas_and_reference_bombs_are_refused() {
        let recursive = raw(&json!({"properties": {"a": {"$ref": "#"}}}));
        assert!(subset("s", &recursive).is_err());
        let mut defs = Map::new();
        for index in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", index + 1)});
            defs.insert(format!("d{index}"), json!({"properties": {"a": next, "b": next}}));
        }
        let bomb = raw(&json!({"$ref": "#/$defs/d0", "$defs": defs}));
        assert!(subset("s", &bomb).is_err());
        assert!(subset("s", &raw(&json!({"$ref": "#/nothing"}))).is_err());
    }
}
