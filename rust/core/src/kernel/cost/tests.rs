use proptest::prelude::*;

use super::super::price::{Listed, Rates, ServiceRates, Tier};
use super::*;

/// The slow twin of the arithmetic: whole and millionth parts apart, so that nothing can overflow.
fn twin(terms: &[(i64, u64)]) -> Option<i64> {
    let (mut whole, mut parts) = (0_i128, 0_i128);
    for (price, count) in terms {
        let (q, r) = (i128::from(count / 1_000_000), i128::from(count % 1_000_000));
        whole += i128::from(*price) * q;
        parts += i128::from(*price) * r;
    }
    whole += parts.div_euclid(1_000_000);
    let millionths = parts.rem_euclid(1_000_000);
    let up = millionths > 500_000 || (millionths == 500_000 && whole.rem_euclid(2) == 1);
    i64::try_from(whole + i128::from(up)).ok()
}

fn amount() -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(
        0.7,
        prop_oneof![4 => 0_i64..100_000_000_000_000, 1 => any::<i64>(), 1 => 0_i64..10, 1 => Just(500_000)],
    )
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..2_000_000, 1 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_twin(
        prices in prop::array::uniform8(amount()),
        counts in prop::array::uniform8(count()),
    ) {
        let [input, output, cache_read, cache_write, audio_input, audio_output, reasoning, per_request] = prices;
        let rates = Rates { input, output, cache_read, cache_write, audio_input, audio_output, reasoning, ..Rates::default() };
        let price = Price::new(&Listed { rates, per_request, ..Listed::default() });
        let [fresh, generated, read, written, heard, said, thought, _] = counts;
        let usage = Usage {
            input: fresh, output: generated, cache_read: read, cache_write: written, audio_input: heard, audio_output: said,
            reasoning: thought, ..Usage::default()
        };
        let thought = thought.min(generated);
        let or = |own: Option<i64>, base: Option<i64>| own.or(base).unwrap_or(0);
        let terms = [
            (or(input, None), fresh),
            (or(output, None), generated - thought),
            (or(reasoning, output), thought),
            (or(cache_read, input), read),
            (or(cache_write, input), written),
            (or(audio_input, input), heard),
            (or(audio_output, output), said),
            (or(per_request, None), 1_000_000),
        ];
        let (ours, theirs) = (cost(&price, &usage), twin(&terms));
        // The sum of several extreme products may leave 128 bits although they would cancel out; then both refuse or only
        // `cost` does. Money never gets there.
        prop_assert!(ours == theirs || ours.is_none());
        if counts.into_iter().all(|tokens| tokens < 1 << 60) {
            prop_assert_eq!(ours, theirs);
        }
    }
}

fn flat(rates: Rates) -> Price {
    Price::new(&Listed { rates, ..Listed::default() })
}

#[test]
fn rounds_half_to_even_once() {
    let of = |input: i64, tokens: u64| {
        cost(&flat(Rates { input: Some(input), ..Rates::default() }), &Usage { input: tokens, ..Usage::default() })
    };
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|half| of(500_000, half)), [0, 0, 1, 2, 2, 2, 3, 4].map(Some));
    assert_eq!([1, 2, 3, 5].map(|half| of(-500_000, half)), [0, -1, -2, -2].map(Some));
    assert_eq!(of(1, 500_001), Some(1));
    assert_eq!(of(1, 499_999), Some(0));
    // Three thirds of a pico-USD would be lost if each class were rounded.
    let price = flat(Rates { input: Some(400_000), ..Rates::default() });
    assert_eq!(cost(&price, &Usage { input: 1, cache_read: 1, cache_write: 1, ..Usage::default() }), Some(1));
}

#[test]
fn classes_without_a_price_take_that_of_what_they_are_part_of() {
    let one_of_each = Usage {
        input: 1,
        output: 10,
        cache_read: 100,
        cache_write: 1_000,
        cache_write_long: 10_000,
        audio_input: 100_000,
        audio_output: 1_000_000,
        cache_read_audio: 10_000_000,
        image_input: 100_000_000,
        image_output: 1_000_000_000,
        cache_read_image: 10_000_000_000,
        reasoning: 4,
        ..Usage::default()
    };
    let million = |tokens: i64| Some(tokens * 1_000_000);
    let price = flat(Rates { input: million(3), output: million(5), cache_read: million(1), ..Rates::default() });
    // input-like: 1 + 1,000 + 10,000 + 100,000 + 100,000,000; cached: 100 + 10^7 + 10^10.
    let input_like = 3 * (1 + 1_000 + 10_000 + 100_000 + 100_000_000_i64);
    let cached = 100 + 10_000_000 + 10_000_000_000_i64;
    let output_like = 5 * (10 + 1_000_000 + 1_000_000_000_i64);
    assert_eq!(cost(&price, &one_of_each), Some(input_like + cached + output_like));
    assert_eq!(cost(&Price::default(), &one_of_each), Some(0));
    let own = flat(Rates { reasoning: million(7), output: million(5), ..Rates::default() });
    assert_eq!(cost(&own, &Usage { output: 10, reasoning: 4, ..Usage::default() }), Some(6 * 5 + 4 * 7));
    // More reasoning than output is a provider's mistake; nothing is charged twice.
    assert_eq!(cost(&own, &Usage { output: 3, reasoning: 9, ..Usage::default() }), Some(3 * 7));
    let long = flat(Rates { input: million(1), cache_write: million(2), ..Rates::default() });
    assert_eq!(cost(&long, &Usage { cache_write_long: 5, ..Usage::default() }), Some(10));
}

#[test]
fn a_long_prompt_has_the_price_of_its_tier() {
    let million = |tokens: i64| Some(tokens * 1_000_000);
    let listed = Listed {
        rates: Rates { input: million(1), output: million(10), cache_read: million(0), ..Rates::default() },
        tiers: vec![
            Tier { above: 256, rates: Rates { input: million(4), ..Rates::default() } },
            Tier { above: 128, rates: Rates { input: million(2), output: million(20), ..Rates::default() } },
        ],
        ..Listed::default()
    };
    let price = Price::new(&listed);
    let of = |input: u64, cache_read: u64| cost(&price, &Usage { input, cache_read, output: 1, ..Usage::default() });
    assert_eq!(of(128, 0), Some(128 + 10));
    assert_eq!(of(129, 0), Some(129 * 2 + 20));
    // Cached tokens are part of the prompt's size.
    assert_eq!(of(100, 29), Some(100 * 2 + 20));
    assert_eq!(of(256, 0), Some(256 * 2 + 20));
    // The highest tier names no output price: the base one holds.
    assert_eq!(of(257, 0), Some(257 * 4 + 10));
    assert_eq!(of(u64::MAX, u64::MAX), None);
}

#[test]
fn services_have_their_prices_and_the_standards_where_they_have_none() {
    let million = |tokens: i64| Some(tokens * 1_000_000);
    let listed = Listed {
        rates: Rates { input: million(4), output: million(8), cache_read: million(1), ..Rates::default() },
        tiers: vec![Tier { above: 100, rates: Rates { input: million(6), output: million(12), ..Rates::default() } }],
        services: vec![
            ServiceRates {
                service: Service::Batch,
                rates: Rates { input: million(2), output: million(4), ..Rates::default() },
                tiers: vec![Tier { above: 100, rates: Rates { input: million(3), ..Rates::default() } }],
            },
            ServiceRates {
                service: Service::Priority,
                rates: Rates { input: million(9), ..Rates::default() },
                tiers: vec![],
            },
        ],
        ..Listed::default()
    };
    let price = Price::new(&listed);
    let of = |service: Service, input: u64| {
        cost(&price, &Usage { input, cache_read: 1, output: 1, service, ..Usage::default() })
    };
    assert_eq!(of(Service::Standard, 10), Some(40 + 1 + 8));
    assert_eq!(of(Service::Flex, 10), Some(40 + 1 + 8));
    assert_eq!(of(Service::Batch, 10), Some(20 + 1 + 4));
    assert_eq!(of(Service::Batch, 100), Some(300 + 1 + 12));
    assert_eq!(of(Service::Priority, 10), Some(90 + 1 + 8));
    assert_eq!(of(Service::Priority, 100), Some(600 + 1 + 12));
    let special = [Service::Batch, Service::Flex, Service::Priority, Service::Ultrafast];
    assert_eq!(special.map(|service| Service::parse(service.name())), special);
    assert_eq!(Service::parse("fast"), Service::Priority);
    assert_eq!(["default", "standard", "auto", "scale", ""].map(Service::parse), [Service::Standard; 5]);
}

#[test]
fn a_part_that_costs_as_much_as_its_whole_follows_it() {
    let million = |tokens: i64| Some(tokens * 1_000_000);
    let listed = Listed {
        rates: Rates { output: million(4), reasoning: million(4), ..Rates::default() },
        services: vec![ServiceRates {
            service: Service::Batch,
            rates: Rates { output: million(2), ..Rates::default() },
            tiers: vec![],
        }],
        ..Listed::default()
    };
    let usage = Usage { output: 10, reasoning: 5, service: Service::Batch, ..Usage::default() };
    assert_eq!(cost(&Price::new(&listed), &usage), Some(20));
    let other = Listed { rates: Rates { reasoning: million(3), ..listed.rates }, ..listed };
    assert_eq!(cost(&Price::new(&other), &usage), Some(5 * 2 + 5 * 3));
}

#[test]
fn what_is_not_tokens_has_its_price_per_unit() {
    let listed = Listed {
        per_request: Some(7),
        per_search: Some(2_000_000),
        per_image: Some(3_000_000),
        per_second: Some(5_000_000),
        per_character: Some(11_000_000),
        ..Listed::default()
    };
    let usage = Usage { searches: 1, images: 10, seconds: 100, characters: 1_000, ..Usage::default() };
    assert_eq!(cost(&Price::new(&listed), &usage), Some(7 + 2 + 30 + 500 + 11_000));
}

#[test]
fn refuses_what_does_not_fit() {
    let rates = Rates { input: Some(i64::MAX), output: Some(i64::MAX), cache_read: Some(i64::MAX), ..Rates::default() };
    let price = flat(rates);
    assert_eq!(cost(&price, &Usage { input: 1_000_000, ..Usage::default() }), Some(i64::MAX));
    assert_eq!(cost(&price, &Usage { input: 1_000_001, ..Usage::default() }), None);
    let most = Usage { input: u64::MAX, output: u64::MAX, cache_read: u64::MAX, ..Usage::default() };
    assert_eq!(cost(&price, &most), None);
    let price = Price::new(&Listed { rates, per_request: Some(i64::MAX), ..Listed::default() });
    assert_eq!(cost(&price, &Usage { input: 1, ..Usage::default() }), None);
}

#[test]
fn reads_rates_and_refuses_unknown_members() {
    let rates: Rates = serde_json::from_str(r#"{"input":1,"output":null}"#).expect("valid");
    assert_eq!(rates, Rates { input: Some(1), ..Rates::default() });
    assert!(serde_json::from_str::<Rates>(r#"{"imput":1}"#).is_err());
}
