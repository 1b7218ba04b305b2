//! Adoption rules: images for guests that were created by plain `xl` and so have no `avps/*` keys.
//!
//! A rule names a domain and a device number: `NAME/DEVID=PATH[,OPTION…]`. Rules are matched by
//! domain name, which only the toolstack can write; a guest cannot take another guest's rule.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::parameters::{self, BlockParameters, ParameterError};

/// One `--adopt` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Domain name as the toolstack knows it.
    pub(crate) domain: String,
    /// Device number: position in the guest's `virtio = [ … ]` list, from 0.
    pub(crate) device: u32,
    /// What to serve there.
    pub(crate) block: BlockParameters,
}

/// Why a rule was not understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RuleError {
    /// No `=`.
    #[error("{0:?} has no '=': write NAME/DEVID=PATH, for example guest/0=/srv/guest.img")]
    NoPath(String),
    /// No `/` before `=`, or an empty name.
    #[error(
        "{0:?} does not name a device: write NAME/DEVID before the '=', for example guest/0=/srv/guest.img"
    )]
    NoDevice(String),
    /// The device number is not a number.
    #[error("{0:?} is not a device number; the first device of a guest is 0")]
    DeviceNumber(String),
    /// Unknown word behind the path.
    #[error(
        "{0:?} is not an option of an adoption rule; known are ro, memory=, block-size=, serial=, cache=, queues= \
         (a path may not hold a comma)"
    )]
    UnknownOption(String),
    /// A value is not acceptable.
    #[error(transparent)]
    Value(#[from] ParameterError),
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (target, rest) = text
            .split_once('=')
            .ok_or_else(|| RuleError::NoPath(text.to_owned()))?;
        let (domain, device) = target
            .rsplit_once('/')
            .filter(|(domain, _)| !domain.is_empty())
            .ok_or_else(|| RuleError::NoDevice(text.to_owned()))?;
        let device = device
            .parse()
            .map_err(|_| RuleError::DeviceNumber(device.to_owned()))?;

        let mut words = rest.split(',');
        let mut block = BlockParameters::new(parameters::image(words.next().unwrap_or_default())?);
        for word in words {
            match word.split_once('=') {
                None if word == "ro" => block.read_only = true,
                Some(("memory", value)) => block.memory = Some(value.parse()?),
                Some(("block-size", value)) => block.block_size = parameters::block_size(value)?,
                Some(("serial", value)) => block.serial = parameters::serial(value)?,
                Some(("cache", value)) => block.cache = value.parse()?,
                Some(("queues", value)) => block.queues = parameters::queues(value)?,
                _ => return Err(RuleError::UnknownOption(word.to_owned())),
            }
        }
        Ok(Rule {
            domain: domain.to_owned(),
            device,
            block,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}={}",
            self.domain,
            self.device,
            self.block.image.display()
        )
    }
}

/// The first rule for this device, if any.
pub(crate) fn find<'a>(rules: &'a [Rule], domain: &str, device: u32) -> Option<&'a Rule> {
    rules
        .iter()
        .find(|rule| rule.domain == domain && rule.device == device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{Cache, Memory};
    use std::path::PathBuf;

    #[test]
    fn a_rule_names_domain_device_and_image() {
        let rule: Rule = "guest/1=/srv/a=b.img".parse().unwrap();
        assert_eq!(rule.domain, "guest");
        assert_eq!(rule.device, 1);
        assert_eq!(
            rule.block,
            BlockParameters::new(PathBuf::from("/srv/a=b.img"))
        );
    }

    #[test]
    fn every_option_of_a_rule_is_understood() {
        let rule: Rule =
            "g/0=/i,ro,memory=foreign,block-size=4096,serial=S1,cache=writethrough,queues=2"
                .parse()
                .unwrap();
        assert!(rule.block.read_only);
        assert_eq!(rule.block.memory, Some(Memory::Foreign));
        assert_eq!(rule.block.block_size, 4096);
        assert_eq!(rule.block.serial, "S1");
        assert_eq!(rule.block.cache, Cache::Writethrough);
        assert_eq!(rule.block.queues, 2);
    }

    #[test]
    fn a_domain_name_may_hold_slashes() {
        let rule: Rule = "team/guest/2=/i".parse().unwrap();
        assert_eq!(rule.domain, "team/guest");
        assert_eq!(rule.device, 2);
    }

    #[test]
    fn a_broken_rule_says_what_is_missing() {
        let error = |text: &str| text.parse::<Rule>().unwrap_err();
        assert!(matches!(error("guest/0"), RuleError::NoPath(_)));
        assert!(matches!(error("guest=/i"), RuleError::NoDevice(_)));
        assert!(matches!(error("/0=/i"), RuleError::NoDevice(_)));
        assert!(matches!(error("guest/x=/i"), RuleError::DeviceNumber(_)));
        assert!(matches!(error("guest/-1=/i"), RuleError::DeviceNumber(_)));
        assert!(matches!(
            error("guest/0=/i,rw"),
            RuleError::UnknownOption(_)
        ));
        assert!(matches!(
            error("guest/0=i"),
            RuleError::Value(ParameterError::RelativeImage(_))
        ));
        assert!(matches!(
            error("guest/0=/i,memory=pool"),
            RuleError::Value(ParameterError::Pool)
        ));
    }

    #[test]
    fn a_rule_serves_only_its_own_domain_and_device() {
        let rules: Vec<Rule> = vec!["a/0=/x".parse().unwrap(), "a/1=/y".parse().unwrap()];
        assert_eq!(
            find(&rules, "a", 1).map(|rule| rule.block.image.clone()),
            Some(PathBuf::from("/y"))
        );
        assert!(find(&rules, "a", 2).is_none());
        assert!(find(&rules, "b", 0).is_none());
    }
}
