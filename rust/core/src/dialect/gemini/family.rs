//! What a Gemini model takes, by its generation.

/// Generation and size of a model; models of another name are taken for the present generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    version: Option<(u32, u32)>,
    flash: bool,
    /// The first Pro of generation 3, which knows fewer levels.
    first_pro: bool,
}

impl Family {
    pub fn of(model: &str) -> Self {
        let rest = model.split_once("gemini-").map(|(_, rest)| rest);
        let version = rest.and_then(|rest| {
            let mut numbers = rest.split('-').next()?.split('.');
            let major = numbers.next()?.parse().ok()?;
            Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
        });
        let flash = model.contains("flash");
        Family { version, flash, first_pro: version == Some((3, 0)) && !flash }
    }

    /// `responseJsonSchema` and `parametersJsonSchema`; older models only know the OpenAPI subset.
    pub fn takes_json_schema(self) -> bool {
        self.version.is_none_or(|version| version >= (2, 5))
    }

    pub fn thinks(self) -> bool {
        self.version.is_none_or(|version| version >= (2, 5))
    }

    /// `thinkingLevel` instead of `thinkingBudget`.
    pub fn takes_levels(self) -> bool {
        self.version.is_some_and(|version| version >= (3, 0))
    }

    pub fn takes_medium(self) -> bool {
        !self.first_pro
    }

    /// Refuses calls in a conversation that come back without their signature.
    pub fn wants_signatures(self) -> bool {
        self.takes_levels()
    }

    pub fn flash(self) -> bool {
        self.flash
    }

    /// A budget within what the model takes: only Flash can be told not to think at all.
    pub fn budget(self, wanted: u64) -> u64 {
        match self.version {
            Some((2, 5)) if self.flash => wanted.min(24_576),
            Some((2, 5)) => wanted.clamp(128, 32_768),
            _ => wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_generation() {
        assert!(!Family::of("gemini-2.0-flash-001").takes_json_schema());
        assert!(!Family::of("models/gemini-1.5-pro").thinks());
        let pro = Family::of("gemini-2.5-pro");
        assert!(pro.takes_json_schema() && !pro.takes_levels());
        assert_eq!((pro.budget(0), pro.budget(100_000)), (128, 32_768));
        assert_eq!(Family::of("gemini-2.5-flash-lite").budget(0), 0);
        assert!(
            Family::of("gemini-3-pro-preview").takes_levels() && !Family::of("gemini-3-pro-preview").takes_medium()
        );
        assert!(Family::of("gemini-3.1-pro-preview").takes_medium());
        assert!(Family::of("tuned").takes_json_schema() && !Family::of("gemini-exp-1206").wants_signatures());
    }
}
