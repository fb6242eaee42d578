//! A pairing heap whose links lie in the parts themselves: the part that expires first is found at once, and any part
//! can be taken out.

/// No part.
pub(super) const NONE: u32 = u32::MAX;

/// Where a part hangs in one heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    child: u32,
    next: u32,
    /// The sibling before it; its parent, if it is the first child.
    prev: u32,
}

impl Links {
    pub(super) const NONE: Self = Self { child: NONE, next: NONE, prev: NONE };

    /// Whether it hangs below no other.
    pub(super) const fn is_first(self) -> bool {
        self.prev == NONE
    }
}

/// Who keeps the parts.
pub(super) trait Nodes {
    fn links(&self, node: u32) -> Links;
    fn links_mut(&mut self, node: u32) -> Option<&mut Links>;
    /// Whether the first comes before the second.
    fn before(&self, a: u32, b: u32) -> bool;

    fn set(&mut self, node: u32, change: impl FnOnce(&mut Links)) {
        if let Some(links) = self.links_mut(node) {
            change(links);
        }
    }
}

/// Hangs a part in. Returns the new first.
pub(super) fn insert(nodes: &mut impl Nodes, root: u32, node: u32) -> u32 {
    nodes.set(node, |links| *links = Links::NONE);
    link(nodes, root, node)
}

/// Takes a part out. Returns the new first.
pub(super) fn remove(nodes: &mut impl Nodes, root: u32, node: u32) -> u32 {
    let Links { child, next, prev } = nodes.links(node);
    let children = merge(nodes, child);
    nodes.set(node, |links| *links = Links::NONE);
    if node == root {
        return children;
    }
    if nodes.links(prev).child == node {
        nodes.set(prev, |links| links.child = next);
    } else {
        nodes.set(prev, |links| links.next = next);
    }
    nodes.set(next, |links| links.prev = prev);
    link(nodes, root, children)
}

/// The heap of both.
fn link(nodes: &mut impl Nodes, a: u32, b: u32) -> u32 {
    if a == NONE {
        return b;
    }
    if b == NONE {
        return a;
    }
    let (top, below) = if nodes.before(b, a) { (b, a) } else { (a, b) };
    let first = nodes.links(top).child;
    nodes.set(below, |links| (links.next, links.prev) = (first, top));
    nodes.set(first, |links| links.prev = below);
    nodes.set(top, |links| links.child = below);
    top
}

/// The heap of all these siblings: in pairs from the front, then all pairs from the back.
fn merge(nodes: &mut impl Nodes, first: u32) -> u32 {
    let (mut rest, mut pairs) = (first, NONE);
    while rest != NONE {
        let a = rest;
        let b = nodes.links(a).next;
        rest = if b == NONE { NONE } else { nodes.links(b).next };
        for node in [a, b] {
            nodes.set(node, |links| (links.next, links.prev) = (NONE, NONE));
        }
        let pair = link(nodes, a, b);
        // The pairs wait in a row that is linked backwards.
        nodes.set(pair, |links| links.next = pairs);
        pairs = pair;
    }
    let mut root = NONE;
    while pairs != NONE {
        let next = nodes.links(pairs).next;
        nodes.set(pairs, |links| (links.next, links.prev) = (NONE, NONE));
        root = link(nodes, root, pairs);
        pairs = next;
    }
    root
}

/// Every part of a heap, in no order.
pub(super) fn all(nodes: &impl Nodes, root: u32) -> Vec<u32> {
    let (mut found, mut at) = (Vec::new(), 0);
    if root != NONE {
        found.push(root);
    }
    while let Some(node) = found.get(at).copied() {
        at += 1;
        let mut child = nodes.links(node).child;
        while child != NONE {
            found.push(child);
            child = nodes.links(child).next;
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::as_conversions, clippy::cast_possible_truncation, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Keys(Vec<(i64, Links)>);

    impl Nodes for Keys {
        fn links(&self, node: u32) -> Links {
            self.0.get(node as usize).map_or(Links::NONE, |key| key.1)
        }
        fn links_mut(&mut self, node: u32) -> Option<&mut Links> {
            self.0.get_mut(node as usize).map(|key| &mut key.1)
        }
        fn before(&self, a: u32, b: u32) -> bool {
            self.0[a as usize].0 < self.0[b as usize].0
        }
    }

    proptest! {
        #[test]
        fn the_first_is_the_least_whatever_comes_and_goes(steps in prop::collection::vec((any::<bool>(), 0_i64..50, any::<prop::sample::Index>()), 0..300)) {
            let (mut keys, mut root, mut inside) = (Keys(Vec::new()), NONE, Vec::<u32>::new());
            for (comes, key, which) in steps {
                if comes || inside.is_empty() {
                    let node = keys.0.len() as u32;
                    keys.0.push((key, Links::NONE));
                    root = insert(&mut keys, root, node);
                    inside.push(node);
                } else {
                    let node = inside.swap_remove(which.index(inside.len()));
                    root = remove(&mut keys, root, node);
                }
                let least = inside.iter().map(|node| keys.0[*node as usize].0).min();
                prop_assert_eq!(keys.0.get(root as usize).map(|key| key.0), least);
                let mut found = all(&keys, root);
                found.sort_unstable();
                let mut expected = inside.clone();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
