// Shows /openapi.json and lets the reader try it. Everything from the description goes into the page as text, never as markup.
"use strict";

const find = (id) => document.getElementById(id);

// element("td", {class: "path"}, "text", child, …)
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function resolve(schema, api) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? api.components.schemas[name] : schema || {};
}

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `[${typeName(schema.items)}]`;
  return schema.type || "any";
}

// What is said of a field that may be null stands beside the null.
function said(schema) {
  return (schema.anyOf || []).find((one) => one.type !== "null") || schema;
}

function limits(schema) {
  const names = ["minimum", "maximum", "minLength", "maxLength", "maxItems", "pattern", "default"];
  return names.filter((name) => schema[name] !== undefined && schema[name] !== null)
    .map((name) => `${name} ${JSON.stringify(schema[name])}`).join(", ");
}

function fieldTable(schema, api) {
  const object = resolve(schema, api);
  if (!object.properties) return element("p", {class: "note"}, "Any fields.");
  const body = element("table");
  for (const [name, field] of Object.entries(object.properties)) {
    const required = (object.required || []).includes(name) ? " *" : "";
    const told = [said(field).description, limits(said(field))].filter(Boolean).join(" · ");
    body.append(element("tr", {}, element("td", {class: "path"}, name + required),
      element("td", {class: "type"}, typeName(field)), element("td", {class: "note"}, told)));
  }
  return body;
}

function jsonSchema(content) {
  const type = content && Object.keys(content).find((name) => name.includes("json"));
  return type ? content[type].schema : null;
}

function example(schema, api) {
  const object = resolve(schema, api);
  const required = (object.required || []).map((name) => [name, placeholder(object.properties[name], api)]);
  return JSON.stringify(Object.fromEntries(required), null, 2);
}

function placeholder(schema, api) {
  const known = resolve(schema, api);
  if (known.properties) return Object.fromEntries((known.required || []).map((name) => [name, placeholder(known.properties[name], api)]));
  return {integer: 1, number: 1, boolean: false, array: [], object: {}}[known.type] ?? "";
}

// The form of one operation: a field per parameter, the body, and what came back.
function tryForm(path, method, operation, api) {
  const inputs = (operation.parameters || []).map((parameter) => [parameter, element("input", {"aria-label": parameter.name})]);
  const rows = element("table");
  for (const [parameter, input] of inputs) {
    rows.append(element("tr", {}, element("td", {class: "path"}, parameter.name + (parameter.required ? " *" : "")),
      element("td", {class: "type"}, typeName(parameter.schema)), element("td", {}, input)));
  }
  const content = operation.requestBody && operation.requestBody.content;
  const schema = jsonSchema(content);
  const body = schema ? element("textarea", {"aria-label": "body", spellcheck: "false"}) : null;
  if (body) body.value = example(schema, api);
  const send = element("button", {type: "button"}, "Send");
  const result = element("pre", {hidden: ""});
  send.addEventListener("click", async () => {
    send.disabled = true;
    result.hidden = false;
    result.textContent = "…";
    result.textContent = await call(path, method, inputs, body && body.value);
    send.disabled = false;
  });
  if (content && !schema) return element("div", {}, rows, element("p", {class: "note"}, "Takes a multipart form: use a client."));
  return element("div", {}, rows, body, element("p", {}, send), result);
}

async function call(path, method, inputs, body) {
  let url = path;
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.set(parameter.name, input.value);
  }
  if ([...query].length) url += `?${query}`;
  const headers = {};
  const key = find("key").value.trim();
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  try {
    const response = await fetch(url, {method: method.toUpperCase(), headers, body: body || undefined, credentials: "omit"});
    const text = await response.text();
    return `${response.status} ${response.statusText}\n${pretty(text)}`;
  } catch (error) {
    return `No answer: ${error.message}`;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function show(path, method, operation, api) {
  const detail = element("div");
  const line = element("summary", {}, element("span", {class: `method ${method}`}, method.toUpperCase()),
    element("span", {class: "path"}, path), element("span", {class: "note"}, operation.summary || ""));
  const item = element("details", {}, line, detail);
  item.dataset.words = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  // Hundreds of forms that nobody opens need not exist.
  item.addEventListener("toggle", () => {
    if (detail.hasChildNodes()) return;
    if (operation.description) detail.append(element("p", {class: "description"}, operation.description));
    const sent = operation.requestBody && jsonSchema(operation.requestBody.content);
    if (sent) detail.append(element("h3", {}, "Body"), fieldTable(sent, api));
    const answered = jsonSchema(operation.responses["200"].content);
    if (answered) detail.append(element("h3", {}, `Answer: ${typeName(answered)}`), fieldTable(answered.items || answered, api));
    detail.append(element("h3", {}, "Try it"), tryForm(path, method, operation, api));
  });
  return item;
}

function filter() {
  const words = find("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("details")) item.hidden = !words.every((word) => item.dataset.words.includes(word));
  for (const section of document.querySelectorAll("section")) section.hidden = !section.querySelector("details:not([hidden])");
}

async function start() {
  const response = await fetch("/openapi.json", {credentials: "omit"});
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const api = await response.json();
  find("version").textContent = api.info.version;
  const sections = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["Other"])[0];
      if (!sections.has(tag)) sections.set(tag, element("section", {}, element("h2", {}, tag)));
      sections.get(tag).append(show(path, method, operation, api));
    }
  }
  find("operations").replaceChildren(...sections.values());
  find("find").addEventListener("input", filter);
}

start().catch((error) => { find("state").textContent = `The description could not be loaded: ${error.message}`; });
