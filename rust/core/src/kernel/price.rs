//! Prices as a source lists them, and as requests are charged: every gap filled, every tier resolved, once per snapshot.

use serde::Deserialize;

/// Classes of tokens with a price each, in the order of [`Rates`].
pub const CLASSES: usize = 12;

macro_rules! rates {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// pico-USD per 1,000,000 tokens of each class; `None`: the source names no such price.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Rates { $($(#[$doc])* pub $field: Option<i64>),+ }

        impl Rates {
            /// These, and what they leave out from `base`.
            #[must_use]
            pub fn over(&self, base: &Rates) -> Rates {
                Rates { $($field: self.$field.or(base.$field)),+ }
            }
        }
    };
}

rates! {
    input,
    output,
    cache_read,
    /// Kept for the shortest time the provider offers (5 minutes at Anthropic).
    cache_write,
    /// Kept for an hour.
    cache_write_long,
    audio_input,
    audio_output,
    cache_read_audio,
    image_input,
    image_output,
    cache_read_image,
    reasoning,
}

impl Rates {
    /// Without what only repeats the price of the class it is a part of: a tier or service that changes that price changes
    /// the part's with it.
    fn essential(&self) -> Rates {
        let own = |part: Option<i64>, whole: Option<i64>| part.filter(|_| part != whole);
        Rates {
            audio_input: own(self.audio_input, self.input),
            image_input: own(self.image_input, self.input),
            audio_output: own(self.audio_output, self.output),
            image_output: own(self.image_output, self.output),
            reasoning: own(self.reasoning, self.output),
            ..*self
        }
    }

    /// With a price for what is kept for an hour, where only the standard names one: as much of it as of what is kept for
    /// minutes. Discounts of services and factors of caches multiply (Anthropic's price page).
    fn in_proportion(&self, standard: &Rates) -> Rates {
        let long = match (self.cache_write, standard.cache_write, standard.cache_write_long) {
            (Some(own), Some(of), Some(long)) if of > 0 => {
                i64::try_from(i128::from(long) * i128::from(own) / i128::from(of)).ok()
            }
            _ => None,
        };
        Rates { cache_write_long: self.cache_write_long.or(long), ..*self }
    }

    /// Every class with the price it is charged at: its own, or that of what it is a part of, or nothing.
    fn resolved(&self) -> [i64; CLASSES] {
        let input = self.input.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(input);
        [
            input,
            output,
            self.cache_read.unwrap_or(input),
            cache_write,
            self.cache_write_long.unwrap_or(cache_write),
            self.audio_input.unwrap_or(input),
            self.audio_output.unwrap_or(output),
            self.cache_read_audio.or(self.cache_read).or(self.audio_input).unwrap_or(input),
            self.image_input.unwrap_or(input),
            self.image_output.unwrap_or(output),
            self.cache_read_image.or(self.cache_read).or(self.image_input).unwrap_or(input),
            self.reasoning.unwrap_or(output),
        ]
    }
}

/// Rates for prompts of more than `above` tokens, in place of the base ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub above: u64,
    pub rates: Rates,
}

/// How urgently a provider works on a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    #[default]
    Standard,
    Batch,
    Flex,
    Priority,
    /// OpenAI's fastest, for a price of its own.
    Ultrafast,
}

/// How many there are.
const SERVICES: usize = Service::Ultrafast as usize + 1;

impl Service {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Standard => "standard",
            Service::Batch => "batch",
            Service::Flex => "flex",
            Service::Priority => "priority",
            Service::Ultrafast => "ultrafast",
        }
    }

    /// What providers call it in requests and answers; anything else is the standard.
    #[must_use]
    pub fn parse(name: &str) -> Service {
        match name {
            "batch" => Service::Batch,
            "flex" => Service::Flex,
            // What OpenAI calls it since the summer of 2026; answers of older models still say `priority`.
            "priority" | "fast" => Service::Priority,
            "ultrafast" => Service::Ultrafast,
            _ => Service::Standard,
        }
    }
}

/// Rates of one service where they differ from the standard's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRates {
    pub service: Service,
    pub rates: Rates,
    pub tiers: Vec<Tier>,
}

/// What a source says one model costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub rates: Rates,
    pub tiers: Vec<Tier>,
    pub services: Vec<ServiceRates>,
    /// pico-USD for one request.
    pub per_request: Option<i64>,
    /// pico-USD per 1,000,000, as the next three.
    pub per_search: Option<i64>,
    pub per_image: Option<i64>,
    pub per_second: Option<i64>,
    pub per_character: Option<i64>,
}

/// Rates that hold for prompts of more than `above` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    pub above: u64,
    pub rates: [i64; CLASSES],
}

/// What one model costs, ready to be multiplied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Bands by [`Service`], each list rising from 0; an empty list: as the standard.
    bands: [Vec<Band>; SERVICES],
    pub per_request: i64,
    pub per_search: i64,
    pub per_image: i64,
    pub per_second: i64,
    pub per_character: i64,
}

impl Price {
    /// Fills the gaps: a tier or a service without a price of its own for a class takes that of the level below it, and a
    /// class without any that of the class it is a part of.
    #[must_use]
    pub fn new(listed: &Listed) -> Price {
        let mut bands: [Vec<Band>; SERVICES] = Default::default();
        let essential = |tier: &Tier| Tier { above: tier.above, rates: tier.rates.essential() };
        let base = listed.rates.essential();
        let standards: Vec<Tier> = listed.tiers.iter().map(essential).collect();
        bands[Service::Standard as usize] = bands_of(&base, &standards);
        for special in &listed.services {
            let rates = special.rates.essential().in_proportion(&base).over(&base);
            let mut tiers: Vec<Tier> = special.tiers.iter().map(essential).collect();
            for standard in &standards {
                match tiers.iter_mut().find(|tier| tier.above == standard.above) {
                    Some(tier) => tier.rates = tier.rates.in_proportion(&standard.rates).over(&standard.rates),
                    None => tiers.push(*standard),
                }
            }
            bands[special.service as usize] = bands_of(&rates, &tiers);
        }
        Price {
            bands,
            per_request: listed.per_request.unwrap_or(0),
            per_search: listed.per_search.unwrap_or(0),
            per_image: listed.per_image.unwrap_or(0),
            per_second: listed.per_second.unwrap_or(0),
            per_character: listed.per_character.unwrap_or(0),
        }
    }

    /// Whether a service has prices of its own.
    #[must_use]
    pub fn has(&self, service: Service) -> bool {
        !self.bands[service as usize].is_empty()
    }

    /// The rates for a prompt of so many tokens.
    #[must_use]
    pub fn rates(&self, service: Service, prompt: u64) -> [i64; CLASSES] {
        let own = &self.bands[service as usize];
        let bands = if own.is_empty() { &self.bands[Service::Standard as usize] } else { own };
        let band = bands.iter().rev().find(|band| prompt > band.above).or(bands.first());
        band.map_or([0; CLASSES], |band| band.rates)
    }
}

fn bands_of(base: &Rates, tiers: &[Tier]) -> Vec<Band> {
    let mut bands = vec![Band { above: 0, rates: base.resolved() }];
    bands.extend(tiers.iter().map(|tier| Band { above: tier.above, rates: tier.rates.over(base).resolved() }));
    bands.sort_by_key(|band| band.above);
    bands
}
