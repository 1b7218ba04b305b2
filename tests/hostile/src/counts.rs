//! Operations, counted by kind.

/// Operations so far, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Register accesses and other requests to the engine.
    pub accesses: u64,
    /// Descriptors written.
    pub descriptors: u64,
    /// Entries and indices of rings written.
    pub rings: u64,
    /// Headers and data written.
    pub payload: u64,
    /// Pages granted, revoked, made read-only, ballooned.
    pub pages: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.accesses + self.descriptors + self.rings + self.payload + self.pages
    }

    /// Name and number of each kind.
    pub fn fields(&self) -> [(&'static str, u64); 5] {
        [
            ("accesses", self.accesses),
            ("descriptors", self.descriptors),
            ("rings", self.rings),
            ("payload", self.payload),
            ("pages", self.pages),
        ]
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Counts {
            accesses: self.accesses + other.accesses,
            descriptors: self.descriptors + other.descriptors,
            rings: self.rings + other.rings,
            payload: self.payload + other.payload,
            pages: self.pages + other.pages,
        }
    }
}
