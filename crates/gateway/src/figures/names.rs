//! Names that stand in labels: a bounded set, whatever clients send.

use std::sync::Arc;

use foldhash::HashMap;

/// A name by number; the first stands for all that have none of their own.
pub type Name = u16;

/// What everything beyond the bound is called.
const OTHER: &str = "other";

/// So many names at most, each with a number.
#[derive(Debug)]
pub struct Names {
    numbers: HashMap<Arc<str>, Name>,
    names: Vec<Arc<str>>,
    most: usize,
}

impl Names {
    /// Room for `most` names beside "other".
    pub fn up_to(most: u16) -> Names {
        Names { numbers: HashMap::default(), names: vec![OTHER.into()], most: usize::from(most) }
    }

    /// The number of a name that is known to be one; "other" when there is no room for it.
    pub fn admit(&mut self, name: &Arc<str>) -> Name {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let Some(number) = Name::try_from(self.names.len()).ok().filter(|_| self.names.len() <= self.most) else { return 0 };
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    /// The number of a name as somebody sends it: "other" unless it was admitted.
    pub fn find(&self, name: &str) -> Name {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    /// Whether it was admitted.
    pub fn holds(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// The name behind a number.
    pub fn name(&self, number: Name) -> Arc<str> {
        self.names.get(usize::from(number)).unwrap_or(&self.names[0]).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_other() {
        let mut names = Names::up_to(2);
        let numbers: Vec<Name> = ["a", "b", "c", "a"].iter().map(|name| names.admit(&Arc::from(*name))).collect();
        assert_eq!(numbers, [1, 2, 0, 1]);
        assert_eq!((names.find("b"), names.find("c")), (2, 0));
        assert_eq!((&*names.name(2), &*names.name(0), &*names.name(9)), ("b", "other", "other"));
        assert!(names.holds("a") && !names.holds("other"));
    }
}
