//! The table of what each format can carry.

use super::*;

/// `docs/dialects.md` between its marks. With `AILINK_UPDATE_DOCS` set, the page is written anew.
#[test]
fn the_documented_table_is_that_of_the_code() {
    const MARKS: (&str, &str) = ("<!-- begin: table -->\n", "<!-- end: table -->\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dialects.md");
    let page = std::fs::read_to_string(&path).expect("docs/dialects.md");
    let (before, rest) = page.split_once(MARKS.0).expect("a mark where the table begins");
    let (found, after) = rest.split_once(MARKS.1).expect("a mark where the table ends");
    let table = table();
    if std::env::var_os("AILINK_UPDATE_DOCS").is_some() {
        std::fs::write(&path, [before, MARKS.0, &table, MARKS.1, after].concat()).expect("written");
    } else {
        assert_eq!(found, table, "run the test once more with AILINK_UPDATE_DOCS=1");
    }
}

fn table() -> String {
    use crate::dialect::hub::{Feature, Treatment};
    let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    let mut out = format!("| what | name | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for feature in Feature::ALL {
        let cells = Format::ALL.map(|format| match format.treatment(*feature) {
            Treatment::Carry => "carried".to_string(),
            Treatment::Emulate(how) => format!("emulated: {how}"),
            Treatment::Drop => "left out, announced".to_string(),
            Treatment::Reject(alternative) => format!("refused: {alternative}"),
        });
        out.push_str(&format!("| {} | `{}` | {} |\n", feature.what(), feature.name(), cells.join(" | ")));
    }
    out
}
