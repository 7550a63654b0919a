//! Tokens of a picture by the rules of OpenAI's guide "Images and vision" (read 2026-11): tiles of 512 pixels a side, or
//! patches of 32, by model. A picture in the request tells its size; of one behind a link it is assumed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What a picture behind a link is taken for.
const ASSUMED: (u64, u64) = (1024, 1024);
/// Bytes of a picture (in base64) that are looked through for its size: JPEG may have a preview in front.
const HEAD: usize = 256 << 10;
const MOST_PATCHES: u64 = 1_536;

enum Rule {
    /// Tokens of any picture, and of each tile at high detail.
    Tiles { base: u64, tile: u64 },
    /// Tokens of 100 patches.
    Patches(u64),
}

fn rule(model: &str) -> Rule {
    let name = model.rsplit('/').next().unwrap_or(model);
    let begins = |family: &str| name.starts_with(family);
    if begins("gpt-4.1-mini") || begins("gpt-5-mini") {
        Rule::Patches(162)
    } else if begins("gpt-4.1-nano") || begins("gpt-5-nano") {
        Rule::Patches(246)
    } else if begins("o4-mini") {
        Rule::Patches(172)
    } else if begins("gpt-4o-mini") {
        Rule::Tiles { base: 2_833, tile: 5_667 }
    } else if begins("gpt-5") {
        Rule::Tiles { base: 70, tile: 140 }
    } else if begins("o1") || begins("o3") {
        Rule::Tiles { base: 75, tile: 150 }
    } else {
        Rule::Tiles { base: 85, tile: 170 }
    }
}

/// Tokens of a part of a message that is a picture, and whether its size is known.
pub fn tokens(model: &str, part: &Value) -> (u64, bool) {
    let url = part.get("image_url");
    let detail = url.and_then(|url| url.get("detail")).or_else(|| part.get("detail")).and_then(Value::as_str);
    let link = url.and_then(|url| url.as_str().or_else(|| url.get("url").and_then(Value::as_str)));
    let size = link.and_then(inline_size);
    let (width, height) = size.unwrap_or(ASSUMED);
    match rule(model) {
        Rule::Tiles { base, .. } if detail == Some("low") => (base, true),
        Rule::Tiles { base, tile } => (base + tile * tiles(width, height), size.is_some()),
        Rule::Patches(hundred) => ((patches(width, height) * hundred).div_ceil(100), size.is_some()),
    }
}

/// Fitted into 2048 x 2048, then the shorter side to 768.
fn tiles(width: u64, height: u64) -> u64 {
    let (mut wide, mut high) = (width as f64, height as f64);
    let fit = (2048.0 / wide.max(high)).min(1.0);
    (wide, high) = (wide * fit, high * fit);
    let fit = (768.0 / wide.min(high)).min(1.0);
    let count = |side: f64| (side * fit / 512.0 - 1e-9).ceil().max(1.0) as u64;
    count(wide) * count(high)
}

/// Scaled down to 1,536 patches, to whole ones on one side.
fn patches(width: u64, height: u64) -> u64 {
    let count = width.div_ceil(32) * height.div_ceil(32);
    if count <= MOST_PATCHES {
        return count;
    }
    let (wide, high) = (width as f64 / 32.0, height as f64 / 32.0);
    let fit = (MOST_PATCHES as f64 / (wide * high)).sqrt();
    let whole = |side: f64| ((side * fit).floor() / (side * fit)).max(f64::MIN_POSITIVE);
    let fit = fit * whole(wide).min(whole(high));
    let side = |side: f64| (side * fit - 1e-9).ceil().max(1.0) as u64;
    (side(wide) * side(high)).min(MOST_PATCHES)
}

/// Width and height of a picture in a data link.
fn inline_size(link: &str) -> Option<(u64, u64)> {
    let (head, data) = link.strip_prefix("data:")?.split_once(',')?;
    if !head.ends_with(";base64") {
        return None;
    }
    let most = data.len().min(HEAD) / 4 * 4;
    let bytes = STANDARD.decode(data.get(..most)?).ok()?;
    size(&bytes).filter(|(width, height)| *width > 0 && *height > 0)
}

fn size(bytes: &[u8]) -> Option<(u64, u64)> {
    let big = |at: usize, length: usize| {
        bytes.get(at..at + length).map(|run| run.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let little = |at: usize, length: usize| {
        bytes.get(at..at + length).map(|run| run.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((big(16, 4)?, big(20, 4)?));
    }
    if bytes.starts_with(b"GIF8") {
        return Some((little(6, 2)?, little(8, 2)?));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return match bytes.get(12..16)? {
            b"VP8X" => Some((little(24, 3)? + 1, little(27, 3)? + 1)),
            b"VP8L" => {
                let bits = little(21, 4)?;
                Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            b"VP8 " => Some((little(26, 2)? & 0x3fff, little(28, 2)? & 0x3fff)),
            _ => None,
        };
    }
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    // JPEG: segments until the frame's head.
    let mut at = 2;
    loop {
        let (mark, kind) = (big(at, 1)?, big(at + 1, 1)?);
        if mark != 0xff {
            return None;
        }
        match kind {
            0xff => at += 1,
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => return Some((big(at + 7, 2)?, big(at + 5, 2)?)),
            _ => at += 2 + usize::try_from(big(at + 2, 2)?).ok()?.max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_guides_examples() {
        assert_eq!((tiles(1024, 1024), tiles(2048, 4096), tiles(100, 100)), (4, 6, 1));
        assert_eq!((patches(1024, 1024), patches(1800, 2400)), (1_024, 1_452));
        let part =
            |detail: &str| json!({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": detail}});
        assert_eq!(tokens("gpt-4o", &part("low")), (85, true));
        assert_eq!(tokens("gpt-4o", &part("high")), (765, false));
        assert_eq!(tokens("gpt-4o-mini", &part("auto")).0, 2_833 + 4 * 5_667);
        assert_eq!(tokens("openai/gpt-4.1-mini", &part("auto")).0, 1_659);
    }

    #[test]
    fn pictures_tell_their_size() {
        let of = |head: &[u8]| {
            let url = format!("data:image/x;base64,{}", STANDARD.encode(head));
            tokens("gpt-4o", &json!({"type": "image_url", "image_url": {"url": url}}))
        };
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 8, 0, 0, 0, 16, 0]);
        assert_eq!(of(&png), (1_105, true));
        assert_eq!(of(b"GIF89a\x00\x04\x00\x04"), (765, true));
        let jpeg = [&[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 17, 8, 4, 0, 4, 0][..], &[0; 8]].concat();
        assert_eq!(of(&jpeg), (765, true));
        for broken in [&b"\x89PNG\r\n\x1a\n"[..], b"nothing", &[0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff], &[0xff; 9], b""] {
            assert_eq!(of(broken), (765, false), "{broken:?}");
        }
    }
}
