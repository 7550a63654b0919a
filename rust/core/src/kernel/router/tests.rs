use sha2::{Digest, Sha256};

use super::*;
use crate::kernel::features::{Prompt, features};

/// A file as the exporter writes it.
pub(crate) fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
    let mut out = b"AILROUTE".to_vec();
    out.extend(1u32.to_le_bytes());
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(numbers);
    let digest = Sha256::digest(&out);
    out.extend(digest.as_slice());
    out
}

const HEAD: &str = r#""name":"r","version":"1","features":1,"models":["small","large"],"costs":[1,10],"margin":0.05"#;

fn svm() -> Vec<u8> {
    let mut planes = vec![0.0f32; 2 * (DIM + 1)];
    // `large` always is good; `small` unless the prompt is hard (words that ask for thought).
    planes[DIM] = 2.0;
    planes[5] = -20.0;
    planes[2 * DIM + 1] = 2.0;
    let numbers: Vec<u8> = planes.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    file(&format!("{{{HEAD},\"kind\":\"svm\"}}"), &numbers)
}

fn order(router: &Router, text: &str) -> Vec<usize> {
    let found = features(&Prompt { text: text.into(), messages: 1, ..Prompt::default() });
    router.order(&router.estimates(&found, &mut || 0.5)).to_vec()
}

#[test]
fn the_cheapest_that_is_good_enough_goes_first() {
    let router = Router::read(&svm()).unwrap();
    assert_eq!(order(&router, "Hello there"), [0, 1]);
    assert_eq!(order(&router, "Prove and derive the theorem, analyze the algorithm"), [1, 0]);
}

#[test]
fn what_is_not_a_router_is_refused() {
    let good = svm();
    let refused = |bytes: &[u8]| Router::read(bytes).unwrap_err().0;
    for length in [0, 7, 31, 32, 100, good.len() - 1] {
        refused(&good[..length]);
    }
    for at in [0, 9, 14, 40, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        refused(&bytes);
    }
    let numbers = [0u8; 2 * (DIM + 1) * 4];
    for (header, numbers, why) in [
        (format!("{{{HEAD},\"kind\":\"forest\"}}"), &numbers[..], "kind"),
        (format!("{{{HEAD},\"kind\":\"svm\"}}"), &numbers[..100], "cut short"),
        (format!("{{{HEAD},\"kind\":\"knn\",\"k\":1,\"vectors\":9000000}}"), &numbers, "vectors"),
        (format!("{{{HEAD},\"kind\":\"knn\",\"k\":0,\"vectors\":1}}"), &numbers, "k = 0"),
        (format!("{{{},\"kind\":\"svm\"}}", HEAD.replace("[1,10]", "[1]")), &numbers, "1 costs"),
        (format!("{{{},\"kind\":\"svm\"}}", HEAD.replace("\"features\":1", "\"features\":7")), &numbers, "version 7"),
        (format!("{{{},\"kind\":\"svm\"}}", HEAD.replace("0.05", "7")), &numbers, "out of bounds"),
        ("{".to_string(), &numbers, "header"),
    ] {
        let said = refused(&file(&header, numbers));
        assert!(said.contains(why), "{said} does not say {why}");
    }
    let mut infinite = numbers;
    infinite[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&file(&format!("{{{HEAD},\"kind\":\"svm\"}}"), &infinite)).contains("out of bounds"));
    let mut long = numbers.to_vec();
    long.push(0);
    assert!(refused(&file(&format!("{{{HEAD},\"kind\":\"svm\"}}"), &long)).contains("too many"));
}
