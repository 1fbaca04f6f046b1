//! The RFC 6962 Merkle tree, as the right edge that is enough to append and to know the root.

use crate::digest::{LeafHash, TreeHash, sha256_parts};

/// A tree's compact range: the roots of its perfect subtrees, largest first.
///
/// At most 64 hashes whatever the size; appending is O(log n) worst, O(1) on average. Hashing is
/// RFC 6962 §2.1: leaves are `SHA-256(0x00 ‖ data)`, nodes `SHA-256(0x01 ‖ left ‖ right)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    edge: Vec<[u8; 32]>,
}

pub(crate) fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256_parts(&[&[0x01], left, right])
}

impl CompactRange {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first: one for each one bit of the size.
    pub fn edge(&self) -> &[[u8; 32]] {
        &self.edge
    }

    /// A range from its parts, if there is one hash for each one bit of `size`.
    pub fn from_parts(size: u64, edge: Vec<[u8; 32]>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: LeafHash) {
        let mut hash = *leaf.as_bytes();
        // Every trailing one bit of the size is a perfect subtree that the new leaf completes.
        for _ in 0..self.size.trailing_ones() {
            let left = self.edge.pop().expect("one subtree for each one bit of the size");
            hash = node(&left, &hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The root over all leaves; of no leaves, the hash of the empty string (RFC 6962 §2.1).
    pub fn root(&self) -> TreeHash {
        let mut subtrees = self.edge.iter().rev();
        let Some(first) = subtrees.next() else {
            return TreeHash::from_bytes(sha256_parts(&[]));
        };
        TreeHash::from_bytes(subtrees.fold(*first, |right, left| node(left, &right)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves and roots of the certificate-transparency reference tests
    /// (transparency-dev/merkle, `testonly/constants.go`), sizes 0 to 8.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn roots_of_0_to_8_leaves_are_the_published_ones() {
        let mut range = CompactRange::default();
        assert_eq!(range.root().to_string(), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            range.push(LeafHash::of_line(&bytes(leaf)));
            assert_eq!(range.root().to_string(), *root);
        }
    }

    #[test]
    fn roots_agree_with_an_independent_implementation() {
        let mut range = CompactRange::default();
        let mut oracle =
            ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        for i in 0..300u32 {
            let leaf = i.to_be_bytes().to_vec();
            range.push(LeafHash::of_line(&leaf));
            oracle.push(leaf);
            assert_eq!(range.root().as_bytes()[..], oracle.root().as_bytes()[..], "{i}");
        }
    }
}
