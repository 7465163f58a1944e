//! The circles of a server, by what they take.

use std::collections::BTreeSet;

use circled_protocol::PublicKey;

use super::Dispatcher;
use crate::store::Unavailable;

/// The largest circles of all, as they are found one by one: so many, whatever their number is.
#[derive(Debug)]
pub struct Largest {
    most: usize,
    /// The bytes of each one's store, and the circle; the smallest first.
    circles: BTreeSet<(u64, PublicKey)>,
    are_more: bool,
}

impl Largest {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            circles: BTreeSet::new(),
            are_more: false,
        }
    }

    /// Adds a circle whose store has so many bytes. One may be added twice.
    pub(super) fn add(&mut self, circle: PublicKey, bytes: u64) {
        self.circles.insert((bytes, circle));
        if self.circles.len() > self.most {
            self.circles.pop_first();
            self.are_more = true;
        }
    }

    /// Returns them, the largest first, with the bytes of their stores.
    pub fn into_sorted(self) -> Vec<(PublicKey, u64)> {
        let circles = self.circles.into_iter().rev();
        circles.map(|(bytes, circle)| (circle, bytes)).collect()
    }

    /// Returns whether there are more circles.
    pub fn are_more(&self) -> bool {
        self.are_more
    }
}

impl Dispatcher {
    /// Finds the circles with the largest stores, so many. Looks at all circles.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn largest_circles(&self, most: usize) -> Result<Largest, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.largest_circles(most).await,
            Self::Redis(redis) => redis.largest_circles(most).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::Largest;

    #[test]
    fn the_largest_stay_and_come_first() {
        let circle = |n: u8| SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public();
        let mut largest = Largest::new(2);
        for (n, bytes) in [(1, 10), (2, 30), (2, 30)] {
            largest.add(circle(n), bytes);
        }
        assert!(!largest.are_more());
        largest.add(circle(3), 20);
        assert!(largest.are_more());
        assert_eq!(largest.into_sorted(), [(circle(2), 30), (circle(3), 20)]);
    }
}
