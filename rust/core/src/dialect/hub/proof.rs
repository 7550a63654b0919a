//! Encrypted reasoning together with its id, for formats that have one place for both.

use std::borrow::Cow;

use super::Text;

/// Before an id and what it belongs to. OpenAI wants its ids back with its reasoning; nobody else has a place for them.
const ITEM: &str = "ailink.item.";

/// Encrypted reasoning as one text.
pub fn sealed<'t>(data: &'t str, id: Option<&str>) -> Cow<'t, str> {
    match id.filter(|id| !id.contains('.')) {
        Some(id) => Cow::Owned(format!("{ITEM}{id}.{data}")),
        None => Cow::Borrowed(data),
    }
}

/// The parts of what [`sealed`] made; what is nobody's seal stays as it is.
pub fn unsealed(text: Text<'_>) -> (Text<'_>, Option<Text<'_>>) {
    let parts = text.strip_prefix(ITEM).and_then(|rest| rest.split_once('.'));
    match parts.map(|(id, data)| (data.to_string(), id.to_string())) {
        Some((data, id)) => (data.into(), Some(id.into())),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_come_back() {
        for (data, id) in [("abc.def", Some("rs_1")), ("abc", None), ("", Some(""))] {
            let (data_back, id_back) = unsealed(sealed(data, id).into_owned().into());
            assert_eq!((&*data_back, id_back.as_deref()), (data, id));
        }
        assert_eq!(sealed("x", Some("a.b")), "x");
    }
}
