//! How long a recording plays, by what its head says: what a transcription will be billed for, before it is sent.
//!
//! WAV, FLAC, MP3, MP4 and Ogg say it. Of what is unknown the longest is assumed that so many bytes can be.

use memchr::memmem;

/// 6 kbit/s: Opus makes no less of speech.
const LEAST_BYTES_PER_S: u64 = 750;

/// How long a recording plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// Whole ones, rounded up.
    pub seconds: u32,
    /// Its head says so; else it cannot be longer.
    pub told: bool,
}

#[must_use]
pub fn length(file: &[u8]) -> Length {
    let told = wav(file).or_else(|| flac(file)).or_else(|| ogg(file)).or_else(|| mp4(file)).or_else(|| mp3(file));
    let seconds = told.unwrap_or_else(|| (file.len() as u64).div_ceil(LEAST_BYTES_PER_S));
    Length { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), told: told.is_some() }
}

fn be(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(count)?)?;
    Some(part.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn le(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(count)?)?;
    Some(part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn per(count: u64, rate: u64) -> Option<u64> {
    (rate > 0).then(|| count.div_ceil(rate))
}

/// Bytes of sound by bytes per second. What is written while it is recorded says 0 or "all"; the file's end counts then.
fn wav(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WAVE" {
        return None;
    }
    let (mut at, mut rate) = (12, 0);
    while let Some(size) = le(file, at + 4, 4) {
        match file.get(at..at + 4)? {
            b"fmt " => rate = le(file, at + 16, 4)?,
            b"data" => {
                let there = (file.len() - at - 8) as u64;
                return per(if size == 0 { there } else { size.min(there) }, rate);
            }
            _ => {}
        }
        at = at.checked_add(8)?.checked_add(usize::try_from(size + size % 2).ok()?)?;
    }
    None
}

/// Samples and their rate stand in the first block.
fn flac(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"fLaC" {
        return None;
    }
    let packed = be(file, 18, 8)?;
    let (rate, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    // 0: not known when it was written.
    if samples == 0 { None } else { per(samples, rate) }
}

/// The last page says how many samples there are up to its end.
fn ogg(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"OggS" {
        return None;
    }
    let last = memmem::rfind(file, b"OggS")?;
    let samples = le(file, last + 6, 8)?;
    let head = file.get(..256.min(file.len()))?;
    let rate = match memmem::find(head, b"\x01vorbis") {
        Some(at) => le(head, at + 12, 4)?,
        None => memmem::find(head, b"OpusHead").map(|_| 48_000)?,
    };
    per(samples, rate)
}

fn mp4(file: &[u8]) -> Option<u64> {
    if file.get(4..8)? != b"ftyp" {
        return None;
    }
    let movie = boxed(file, b"moov")?;
    let head = boxed(movie, b"mvhd")?;
    let (rate, length) = match head.first()? {
        0 => (be(head, 12, 4)?, be(head, 16, 4)?),
        _ => (be(head, 20, 4)?, be(head, 24, 8)?),
    };
    // 0: it is told in fragments.
    if length == 0 { None } else { per(length, rate) }
}

/// The content of the first box of that name.
fn boxed<'b>(bytes: &'b [u8], name: &[u8; 4]) -> Option<&'b [u8]> {
    let mut at = 0_usize;
    loop {
        let size = be(bytes, at, 4)?;
        let (head, size) = match size {
            0 => (8, (bytes.len() - at) as u64),
            1 => (16, be(bytes, at + 8, 8)?),
            _ => (8, size),
        };
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        if size < head {
            return None;
        }
        if bytes.get(at + 4..at + 8)? == name {
            return bytes.get(at + head as usize..end.min(bytes.len()));
        }
        at = end;
    }
}

/// Bit rates in kbit/s of layer III: MPEG 1, and 2 with 2.5.
const KBITS: [[u64; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// The count of frames where the encoder noted it; else the bit rate of the first frame.
fn mp3(file: &[u8]) -> Option<u64> {
    let mut at = 0_usize;
    if file.get(..3)? == b"ID3" {
        // Seven bits a byte.
        let size = file.get(6..10)?.iter().fold(0_usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        at = 10 + size;
    }
    let head = be(file, at, 4)?;
    let (version, layer) = (head >> 19 & 3, head >> 17 & 3);
    if head >> 21 != 0x7ff || version == 1 || layer != 1 {
        return None;
    }
    let first = version == 3;
    let kbits = KBITS.get(usize::from(!first))?.get(usize::try_from(head >> 12 & 15).ok()?)?;
    let rate = [44_100, 48_000, 32_000].get(usize::try_from(head >> 10 & 3).ok()?)? >> [2, 0, 1, 0][version as usize];
    let mono = head >> 6 & 3 == 3;
    let tag = at + 4 + [[32, 17], [17, 9]][usize::from(!first)][usize::from(mono)];
    if matches!(file.get(tag..tag + 4), Some(b"Xing" | b"Info")) && be(file, tag + 4, 4)? & 1 == 1 {
        let frames = be(file, tag + 8, 4)?;
        return per(frames.checked_mul(if first { 1_152 } else { 576 })?, rate);
    }
    per((file.len() - at) as u64, kbits * 125)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seconds(file: &[u8]) -> u32 {
        length(file).seconds
    }

    fn wave(bytes_per_s: u32, told: u32, there: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0".to_vec();
        file.extend(bytes_per_s.to_le_bytes());
        file.extend([2, 0, 16, 0]);
        file.extend(b"data");
        file.extend(told.to_le_bytes());
        file.resize(file.len() + there, 0);
        file
    }

    #[test]
    fn wav_says_how_long_it_is() {
        assert_eq!(seconds(&wave(32_000, 64_001, 64_001)), 3);
        assert_eq!(seconds(&wave(32_000, u32::MAX, 32_000)), 1);
        assert_eq!(seconds(&wave(32_000, 0, 64_000)), 2);
    }

    #[test]
    fn flac_ogg_and_mp4_say_it_too() {
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.extend([0; 10]);
        flac.extend((44_100_u64 << 44 | 1 << 41 | (44_100 * 9)).to_be_bytes());
        assert_eq!(seconds(&flac), 9);
        let page = |granule: u64| [b"OggS\0\0".as_slice(), &granule.to_le_bytes(), &[0; 14]].concat();
        let opus = [page(0), b"OpusHead\x01\x02".to_vec(), page(48_000 * 7 - 5)].concat();
        assert_eq!(seconds(&opus), 7);
        let mut head = b"\0\0\0\x6cmvhd\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend(1_000_u32.to_be_bytes());
        head.extend(61_500_u32.to_be_bytes());
        head.resize(0x6c, 0);
        let movie = [b"\0\0\0\x74moov".as_slice(), &head].concat();
        let file = [b"\0\0\0\x10ftypM4A \0\0\0\0".as_slice(), b"\0\0\0\x09mdatx", &movie].concat();
        assert_eq!(seconds(&file), 62);
    }

    #[test]
    fn mp3_counts_frames_or_goes_by_its_bit_rate() {
        // MPEG 1, layer III, 128 kbit/s, 44.1 kHz, stereo.
        let mut file = vec![0xff, 0xfb, 0x90, 0x00];
        file.resize(16_000 * 5, 0);
        assert_eq!(seconds(&file), 5);
        let tagged = [b"ID3\x04\0\0\0\0\0\x05xxxxx".as_slice(), &file].concat();
        assert_eq!(seconds(&tagged), 5);
        file[36..40].copy_from_slice(b"Xing");
        file[43] = 1;
        file[44..48].copy_from_slice(&1_000_u32.to_be_bytes());
        assert_eq!(seconds(&file), 27);
    }

    #[test]
    fn anything_else_is_as_long_as_it_can_be() {
        assert_eq!(length(&[7; 7_500]), Length { seconds: 10, told: false });
        assert_eq!(seconds(b""), 0);
        for _ in 0..20_000 {
            let kinds: [&[u8]; 6] =
                [b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"\0\0\0\x08ftyp", b"ID3", b"\xff\xfb\x90\0"];
            let mut file = kinds[fastrand::usize(..6)].to_vec();
            file.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(..80)));
            let _ = seconds(&file);
        }
    }
}
