//! The price of a request, exactly.
//!
//! Money is whole pico-USD (1e-12 USD): published prices such as $0.0025 per million tokens are fractions of a nano-USD per
//! token. A price is given per 1,000,000 tokens, so the sum over all token classes is formed exactly in 128 bits and
//! divided **once**, rounding half to even. Nothing wraps or saturates: what does not fit 64 bits (9.2 million USD) is
//! `None`.

use super::price::{CLASSES, Price, Service};

/// What one request used; token counts by class do not overlap but where it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Without all other classes of input.
    pub input: u64,
    /// Without `audio_output` and `image_output`, with `reasoning`.
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    /// Written to be kept for an hour.
    pub cache_write_long: u64,
    pub audio_input: u64,
    pub audio_output: u64,
    pub cache_read_audio: u64,
    pub image_input: u64,
    pub image_output: u64,
    pub cache_read_image: u64,
    /// Part of `output`.
    pub reasoning: u64,
    /// What is not paid by tokens.
    pub searches: u32,
    pub images: u32,
    pub seconds: u32,
    pub characters: u32,
    pub service: Service,
}

impl Usage {
    /// Tokens of the prompt, however they are priced: what tiers are told apart by.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        [
            self.cache_read,
            self.cache_write,
            self.cache_write_long,
            self.audio_input,
            self.cache_read_audio,
            self.image_input,
            self.cache_read_image,
        ]
        .into_iter()
        .fold(self.input, u64::saturating_add)
    }

    /// Tokens read from the provider's cache, of every modality.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.cache_read.saturating_add(self.cache_read_audio).saturating_add(self.cache_read_image)
    }

    /// Tokens written to the provider's cache, however long they are kept.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_long)
    }

    /// Tokens of the answer, of every modality.
    #[must_use]
    pub fn answer(&self) -> u64 {
        self.output.saturating_add(self.audio_output).saturating_add(self.image_output)
    }

    /// Tokens by class, in the order of prices.
    fn tokens(&self) -> [u64; CLASSES] {
        let reasoning = self.reasoning.min(self.output);
        [
            self.input,
            self.output - reasoning,
            self.cache_read,
            self.cache_write,
            self.cache_write_long,
            self.audio_input,
            self.audio_output,
            self.cache_read_audio,
            self.image_input,
            self.image_output,
            self.cache_read_image,
            reasoning,
        ]
    }
}

/// Tokens (or other units) a price stands for.
const PER: u64 = 1_000_000;

/// What the request costs in pico-USD, rounded half to even; `None` if that does not fit 64 bits.
#[must_use]
pub fn cost(price: &Price, usage: &Usage) -> Option<i64> {
    let rates = price.rates(usage.service, usage.prompt());
    let units = [
        (price.per_request, PER),
        (price.per_search, u64::from(usage.searches)),
        (price.per_image, u64::from(usage.images)),
        (price.per_second, u64::from(usage.seconds)),
        (price.per_character, u64::from(usage.characters)),
    ];
    // Each product fits: |i64| * u64 < 2^127. The sum of several need not.
    let scaled = rates
        .into_iter()
        .zip(usage.tokens())
        .chain(units)
        .try_fold(0_i128, |sum, (price, count)| sum.checked_add(i128::from(price) * i128::from(count)))?;
    i64::try_from(divide_half_even(scaled)).ok()
}

/// `scaled / PER`, rounded to the nearest whole number and to the even one in the middle.
fn divide_half_even(scaled: i128) -> i128 {
    // 128-bit division is a library call of some 25 ns; almost every sum fits 64 bits, where it is a multiplication.
    const SMALL: i64 = PER.cast_signed();
    const WIDE: i128 = PER as i128;
    let (quotient, rest) = i64::try_from(scaled).map_or_else(
        |_| (scaled.div_euclid(WIDE), scaled.rem_euclid(WIDE)),
        |small| (i128::from(small.div_euclid(SMALL)), i128::from(small.rem_euclid(SMALL))),
    );
    let twice = rest * 2;
    let up = twice > WIDE || (twice == WIDE && quotient % 2 != 0);
    quotient + i128::from(up)
}

#[cfg(test)]
mod tests;
