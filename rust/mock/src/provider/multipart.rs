//! `multipart/form-data` as file uploads send it. Written by hand: the parts are borrowed whole from a body that is
//! already in memory, which takes a page.

use memchr::memmem;

use super::errors::Failure;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub name: &'a str,
    pub filename: Option<&'a str>,
    pub content: &'a [u8],
}

/// All parts of a form, in order.
#[derive(Debug)]
pub struct Form<'a> {
    pub parts: Vec<Part<'a>>,
}

impl<'a> Form<'a> {
    /// Reads a body of this content type.
    pub fn parse(content_type: &str, body: &'a [u8]) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::bad_request(format!("Could not parse the multipart form: {why}."));
        if !content_type.starts_with("multipart/form-data") {
            return Err(wrong("the content type is not multipart/form-data"));
        }
        let boundary = parameter(content_type, "boundary").ok_or_else(|| wrong("no boundary"))?;
        let delimiter = format!("--{boundary}");
        let finder = memmem::Finder::new(&delimiter);
        let start = finder.find(body).ok_or_else(|| wrong("the boundary does not occur"))?;
        let mut rest = body.get(start + delimiter.len()..).unwrap_or_default();
        let mut parts = Vec::new();
        while !rest.starts_with(b"--") {
            rest = rest.strip_prefix(b"\r\n").ok_or_else(|| wrong("a boundary without a line end"))?;
            let end = finder.find(rest).ok_or_else(|| wrong("it is not closed"))?;
            let part = rest.get(..end).and_then(|part| part.strip_suffix(b"\r\n"));
            parts.push(part.and_then(Part::parse).ok_or_else(|| wrong("a part is malformed"))?);
            rest = rest.get(end + delimiter.len()..).unwrap_or_default();
        }
        Ok(Self { parts })
    }

    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let part = self.parts.iter().find(|part| part.name == name && part.filename.is_none())?;
        std::str::from_utf8(part.content).ok()
    }

    /// The first uploaded file under this name (or `name[]`).
    pub fn file(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.iter().find(|part| part.filename.is_some() && part.name.trim_end_matches("[]") == name)
    }
}

impl<'a> Part<'a> {
    fn parse(part: &'a [u8]) -> Option<Self> {
        // A part without headers would begin with the empty line itself.
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(part.get(..head_end)?).ok()?;
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        let name = parameter(disposition, "name")?;
        Some(Self { name, filename: parameter(disposition, "filename"), content: part.get(head_end + 4..)? })
    }
}

/// The value of `name=value` or `name="value"` among the `;`-separated parameters of a header.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
        \x00\r\n--\xff\r\n--x--\r\n";

    #[test]
    fn fields_and_files_keep_their_bytes() {
        let form = Form::parse("multipart/form-data; boundary=x", BODY).unwrap();
        assert_eq!(form.text("model"), Some("whisper-1"));
        let file = form.file("file").unwrap();
        assert_eq!((file.filename, file.content), (Some("a.wav"), &b"\x00\r\n--\xff"[..]));
        assert!(form.text("file").is_none());
    }

    #[test]
    fn refuses_what_is_cut_anywhere() {
        let whole = Form::parse("multipart/form-data; boundary=\"x\"", BODY).unwrap();
        assert_eq!(whole.parts.len(), 2);
        for end in 0..BODY.len() - 4 {
            assert!(Form::parse("multipart/form-data; boundary=x", &BODY[..end]).is_err(), "{end}");
        }
        assert!(Form::parse("application/json", BODY).is_err());
    }
}
