//! Ranges of keys, in a tree that finds those which contain a key.
//!
//! A treap: ordered by where the ranges begin, and balanced by random priorities. Each node knows the greatest end below
//! it, so that a search leaves out what ends before its key. Adding, removing and each range that is found take a
//! logarithmic number of steps.

use std::cmp::Ordering;

use crate::store::Key;

/// Ranges of keys, each with its owner.
#[derive(Debug)]
pub(super) struct Intervals<T> {
    root: Tree<T>,
    /// The state of the generator of priorities.
    random: u64,
}

type Tree<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    start: Key,
    end: Key,
    owner: T,
    /// The greatest end in this part of the tree.
    max_end: Key,
    priority: u64,
    left: Tree<T>,
    right: Tree<T>,
}

impl<T: Copy + Ord> Intervals<T> {
    pub(super) fn new() -> Self {
        Self {
            root: None,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Adds a range from `start` up to `end`, which isn't in it. The same range of the same owner may be there once.
    pub(super) fn insert(&mut self, start: Key, end: Key, owner: T) {
        // Xorshift: nobody gains anything by guessing it, since a tree is one circle's.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let new = Box::new(Node {
            start,
            max_end: end.clone(),
            end,
            owner,
            priority: self.random,
            left: None,
            right: None,
        });
        self.root = Some(insert(self.root.take(), new));
    }

    /// Removes a range of an owner.
    pub(super) fn remove(&mut self, start: &Key, end: &Key, owner: T) {
        self.root = remove(self.root.take(), (start, end, owner));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Calls `found` with the owner of each range that contains a key.
    pub(super) fn containing(&self, key: &Key, found: &mut impl FnMut(T)) {
        containing(&self.root, key, found);
    }
}

impl<T: Copy + Ord> Node<T> {
    fn cmp(&self, (start, end, owner): (&Key, &Key, T)) -> Ordering {
        (&self.start, &self.end, self.owner).cmp(&(start, end, owner))
    }

    fn update(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten();
        let below = below.map(|node| &node.max_end);
        self.max_end = below.chain([&self.end]).max().unwrap_or(&self.end).clone();
    }
}

fn insert<T: Copy + Ord>(tree: Tree<T>, mut new: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut node) = tree else {
        return new;
    };
    let place = node.cmp((&new.start, &new.end, new.owner));
    if new.priority > node.priority {
        let (left, right) = split(Some(node), &new);
        (new.left, new.right) = (left, right);
        new.update();
        return new;
    }
    let side = if place == Ordering::Less {
        &mut node.right
    } else {
        &mut node.left
    };
    *side = Some(insert(side.take(), new));
    node.update();
    node
}

/// Splits a tree into what comes before a node, and what comes after it.
fn split<T: Copy + Ord>(tree: Tree<T>, at: &Node<T>) -> (Tree<T>, Tree<T>) {
    let Some(mut node) = tree else {
        return (None, None);
    };
    if node.cmp((&at.start, &at.end, at.owner)) == Ordering::Less {
        let (before, after) = split(node.right.take(), at);
        node.right = before;
        node.update();
        (Some(node), after)
    } else {
        let (before, after) = split(node.left.take(), at);
        node.left = after;
        node.update();
        (before, Some(node))
    }
}

/// Joins two trees, of which one comes before the other.
fn join<T: Copy + Ord>(before: Tree<T>, after: Tree<T>) -> Tree<T> {
    let (mut before, mut after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (one, other) => return one.or(other),
    };
    Some(if before.priority > after.priority {
        before.right = join(before.right.take(), Some(after));
        before.update();
        before
    } else {
        after.left = join(Some(before), after.left.take());
        after.update();
        after
    })
}

fn remove<T: Copy + Ord>(tree: Tree<T>, range: (&Key, &Key, T)) -> Tree<T> {
    let mut node = tree?;
    match node.cmp(range) {
        Ordering::Equal => return join(node.left, node.right),
        Ordering::Less => node.right = remove(node.right.take(), range),
        Ordering::Greater => node.left = remove(node.left.take(), range),
    }
    node.update();
    Some(node)
}

fn containing<T: Copy + Ord>(tree: &Tree<T>, key: &Key, found: &mut impl FnMut(T)) {
    let Some(node) = tree.as_ref().filter(|node| node.max_end > *key) else {
        return;
    };
    containing(&node.left, key, found);
    if node.start <= *key {
        if *key < node.end {
            found(node.owner);
        }
        containing(&node.right, key, found);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn key(number: u8) -> Key {
        Key::new(&[number])
    }

    fn depth<T>(tree: &Tree<T>) -> usize {
        let below = |node: &Node<T>| 1 + depth(&node.left).max(depth(&node.right));
        tree.as_deref().map_or(0, below)
    }

    proptest! {
        #[test]
        fn the_ranges_that_contain_a_key_are_found(
            steps in vec((any::<bool>(), 0..24_u8, 0..24_u8, 0..4_u8), 1..200),
        ) {
            let mut intervals = Intervals::new();
            let mut list: Vec<(u8, u8, u8)> = Vec::new();
            for (adds, start, end, owner) in steps {
                let range = (start, end, owner);
                let is_there = list.contains(&range);
                if adds && !is_there {
                    intervals.insert(key(start), key(end), owner);
                    list.push(range);
                } else if !adds {
                    intervals.remove(&key(start), &key(end), owner);
                    list.retain(|other| *other != range);
                }
                for wanted in 0..24 {
                    let mut found = Vec::new();
                    intervals.containing(&key(wanted), &mut |owner| found.push(owner));
                    found.sort_unstable();
                    let contain = |(start, end, _): &&(u8, u8, u8)| *start <= wanted && wanted < *end;
                    let mut expected: Vec<_> = list.iter().filter(contain).map(|range| range.2).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn a_search_takes_few_steps_among_many_ranges() {
        let mut intervals = Intervals::new();
        let number = |n: u32| Key::new(&n.to_be_bytes());
        for n in 0..100_000 {
            intervals.insert(number(n), number(n + 1), n);
        }
        assert!(depth(&intervals.root) < 80);
        let mut found = Vec::new();
        intervals.containing(&number(77_777), &mut |owner| found.push(owner));
        assert_eq!(found, [77_777]);
    }
}
