//! The price of a request, exactly.
//!
//! Money is whole pico-USD (1e-12 USD): published prices such as $0.0025 per million tokens are fractions of a nano-USD per
//! token. A price is given per 1,000,000 tokens, so the sum over all token classes is formed exactly in 128 bits and
//! divided **once**, rounding half to even. Nothing wraps or saturates: what does not fit 64 bits (9.2 million USD) is
//! `None`.

/// Prices of one deployment. A class without a price of its own is billed at the price it is a part of: `cache_read`,
/// `cache_write` and `audio_input` at `input`, `audio_output` at `output`; without either its tokens are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// pico-USD per 1,000,000 tokens, as all but `per_request`.
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub cache_read: Option<i64>,
    pub cache_write: Option<i64>,
    pub audio_input: Option<i64>,
    pub audio_output: Option<i64>,
    /// pico-USD per request.
    pub per_request: Option<i64>,
}

/// Tokens of one request, by class; the classes that are billed do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Without `cache_read`, `cache_write` and `audio_input`.
    pub input: u64,
    /// Without `audio_output`, with `reasoning`.
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub audio_input: u64,
    pub audio_output: u64,
    /// Part of `output`, for reports only.
    pub reasoning: u64,
}

/// Tokens a price stands for.
const PER: u64 = 1_000_000;

/// What the request costs in pico-USD, rounded half to even; `None` if that does not fit 64 bits.
#[must_use]
pub fn cost(price: &Price, usage: &Usage) -> Option<i64> {
    let terms = [
        (price.input, usage.input),
        (price.output, usage.output),
        (price.cache_read.or(price.input), usage.cache_read),
        (price.cache_write.or(price.input), usage.cache_write),
        (price.audio_input.or(price.input), usage.audio_input),
        (price.audio_output.or(price.output), usage.audio_output),
        (price.per_request, PER),
    ];
    // Each product fits: |i64| * u64 < 2^127. The sum of several need not.
    let scaled = terms.into_iter().try_fold(0_i128, |sum, (price, tokens)| {
        sum.checked_add(i128::from(price.unwrap_or(0)) * i128::from(tokens))
    })?;
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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow twin: schoolbook numbers in base 10^9 with a sign, so that nothing can overflow.
    fn twin(price: &Price, usage: &Usage) -> Option<i64> {
        let pick = |own: Option<i64>, base: Option<i64>| own.or(base).unwrap_or(0);
        let terms = [
            (pick(price.input, None), usage.input),
            (pick(price.output, None), usage.output),
            (pick(price.cache_read, price.input), usage.cache_read),
            (pick(price.cache_write, price.input), usage.cache_write),
            (pick(price.audio_input, price.input), usage.audio_input),
            (pick(price.audio_output, price.output), usage.audio_output),
            (price.per_request.unwrap_or(0), 1_000_000),
        ];
        // Whole and millionth parts apart: |price| * tokens / 10^6 is split as price * (q * 10^6 + r).
        let (mut whole, mut parts) = (0_i128, 0_i128);
        for (price, tokens) in terms {
            let (q, r) = (i128::from(tokens / 1_000_000), i128::from(tokens % 1_000_000));
            whole += i128::from(price) * q;
            parts += i128::from(price) * r;
        }
        whole += parts.div_euclid(1_000_000);
        let millionths = parts.rem_euclid(1_000_000);
        let up = millionths > 500_000 || (millionths == 500_000 && whole.rem_euclid(2) == 1);
        i64::try_from(whole + i128::from(up)).ok()
    }

    fn price() -> impl Strategy<Value = Price> {
        let one = || {
            prop::option::weighted(
                0.7,
                prop_oneof![4 => 0_i64..100_000_000_000_000, 1 => any::<i64>(), 1 => 0_i64..10, 1 => Just(500_000)],
            )
        };
        (one(), one(), one(), one(), one(), one(), one()).prop_map(
            |(input, output, cache_read, cache_write, audio_input, audio_output, per_request)| Price {
                input,
                output,
                cache_read,
                cache_write,
                audio_input,
                audio_output,
                per_request,
            },
        )
    }

    fn usage() -> impl Strategy<Value = Usage> {
        let one = || prop_oneof![6 => 0_u64..2_000_000, 1 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)];
        (one(), one(), one(), one(), one(), one(), one()).prop_map(
            |(input, output, cache_read, cache_write, audio_input, audio_output, reasoning)| Usage {
                input,
                output,
                cache_read,
                cache_write,
                audio_input,
                audio_output,
                reasoning,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_twin(price in price(), usage in usage()) {
            // The sum of several extreme products may leave 128 bits although they would cancel out; then both refuse or
            // only `cost` does. Money never gets there.
            let ours = cost(&price, &usage);
            let theirs = twin(&price, &usage);
            prop_assert!(ours == theirs || ours.is_none());
            let sane = |tokens: u64| tokens < 1 << 60;
            if [usage.input, usage.output, usage.cache_read, usage.cache_write, usage.audio_input, usage.audio_output].into_iter().all(sane) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn rounds_half_to_even_once() {
        let of = |input: i64, tokens: u64| {
            cost(&Price { input: Some(input), ..Price::default() }, &Usage { input: tokens, ..Usage::default() })
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|half| of(500_000, half)), [0, 0, 1, 2, 2, 2, 3, 4].map(Some));
        assert_eq!([1, 2, 3, 5].map(|half| of(-500_000, half)), [0, -1, -2, -2].map(Some));
        assert_eq!(of(1, 500_001), Some(1));
        assert_eq!(of(1, 499_999), Some(0));
        // Three thirds of a pico-USD would be lost if each class were rounded.
        let price = Price { input: Some(400_000), ..Price::default() };
        assert_eq!(cost(&price, &Usage { input: 1, cache_read: 1, cache_write: 1, ..Usage::default() }), Some(1));
    }

    #[test]
    fn falls_back_to_the_base_price() {
        let price = Price {
            input: Some(3_000_000),
            output: Some(5_000_000),
            cache_read: Some(1_000_000),
            per_request: Some(7),
            ..Price::default()
        };
        let usage = Usage {
            input: 1,
            output: 10,
            cache_read: 100,
            cache_write: 1_000,
            audio_input: 10_000,
            audio_output: 100_000,
            reasoning: 5,
        };
        assert_eq!(cost(&price, &usage), Some(3 + 50 + 100 + 3_000 + 30_000 + 500_000 + 7));
        assert_eq!(cost(&Price::default(), &usage), Some(0));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let price =
            Price { input: Some(i64::MAX), output: Some(i64::MAX), cache_read: Some(i64::MAX), ..Price::default() };
        assert_eq!(cost(&price, &Usage { input: 1_000_000, ..Usage::default() }), Some(i64::MAX));
        assert_eq!(cost(&price, &Usage { input: 1_000_001, ..Usage::default() }), None);
        assert_eq!(
            cost(&price, &Usage { input: u64::MAX, output: u64::MAX, cache_read: u64::MAX, ..Usage::default() }),
            None
        );
        assert_eq!(
            cost(&Price { per_request: Some(i64::MAX), ..price }, &Usage { input: 1, ..Usage::default() }),
            None
        );
    }

    #[test]
    fn reads_a_price_and_refuses_unknown_members() {
        let price: Price = serde_json::from_str(r#"{"input":1,"output":null}"#).unwrap();
        assert_eq!(price, Price { input: Some(1), ..Price::default() });
        assert!(serde_json::from_str::<Price>(r#"{"imput":1}"#).is_err());
    }
}
