//! Trees, tiles and proofs against published vectors, an independent implementation, and damage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;

use annals_events::*;

type Oracle = MemoryBackedTree<sha2::Sha256, Vec<u8>>;

fn data(n: u64) -> Vec<u8> {
    format!("{{\"seq\":{n}}}").into_bytes()
}

fn leaf(n: u64) -> LeafHash {
    LeafHash::of_line(&data(n))
}

fn tree(size: u64) -> MemoryTree {
    (0..size).map(leaf).collect()
}

/// A published log: what a folder of tiles would hold, by path, and which paths were read.
#[derive(Default)]
struct Folder {
    files: BTreeMap<String, Vec<u8>>,
    reads: RefCell<Vec<String>>,
}

impl Folder {
    fn publish(size: u64) -> Self {
        let (mut builder, mut folder) = (TileBuilder::default(), Self::default());
        for n in 0..size {
            folder.keep(builder.push(leaf(n)));
        }
        folder.keep(builder.partial());
        folder
    }

    fn keep(&mut self, tiles: impl IntoIterator<Item = Tile>) {
        self.files.extend(tiles.into_iter().map(|tile| (tile.id.path(), tile.bytes())));
    }
}

impl HashSource for Folder {
    type Error = TileError;

    fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, TileError> {
        self.reads.borrow_mut().push(id.path());
        id.decode(self.files.get(&id.path()).map_or(&[], |bytes| bytes))
    }
}

fn split(size: u64) -> u64 {
    (size - 1).checked_ilog2().map_or(0, |height| 1 << height)
}

/// RFC 6962 §2.1 as it is written, from the leaves.
fn mth(leaves: &[LeafHash]) -> [u8; 32] {
    if let [leaf] = leaves {
        return *leaf.as_bytes();
    }
    let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
    let inner = [&[1][..], &mth(left), &mth(right)].concat();
    *Digest::of(&inner).as_bytes()
}

/// The way from a leaf to the root: on which side each sibling stands.
fn inclusion_shape(seq: u64, size: u64) -> Option<Vec<bool>> {
    if seq >= size {
        return None;
    }
    if size == 1 {
        return Some(Vec::new());
    }
    let k = split(size);
    let right = seq >= k;
    let inside = if right { inclusion_shape(seq - k, size - k) } else { inclusion_shape(seq, k) };
    Some([inside?, vec![right]].concat())
}

/// The same from the right edge of the older tree, and whether the proof begins with that edge.
fn consistency_shape(old: u64, new: u64, whole: bool) -> Option<(bool, Vec<bool>)> {
    if old == 0 || old > new {
        return None;
    }
    if old == new {
        return Some((whole, Vec::new()));
    }
    let k = split(new);
    let right = old > k;
    let (start, inside) = if right {
        consistency_shape(old - k, new - k, false)?
    } else {
        consistency_shape(old, k, whole)?
    };
    Some((start, [inside, vec![right]].concat()))
}

#[test]
fn the_published_proofs_are_accepted_and_refused_as_published() {
    let vectors = include_str!("../../../event-store/vectors/merkle-proofs.txt");
    let hash = |text: &str| *text.parse::<Digest>().unwrap().as_bytes();
    let (mut accepted, mut refused) = (0, 0);
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, verdict, _, a, b, first, root, proof] = fields[..] else {
            panic!("{line}");
        };
        let (a, b): (u64, u64) = (a.parse().unwrap(), b.parse().unwrap());
        let (first, root) = (hash(first), TreeHash::from_bytes(hash(root)));
        let proof: Vec<_> = proof.split(',').filter(|hash| *hash != "-").map(hash).collect();
        let result = match kind {
            "inclusion" => verify_inclusion(LeafHash::from_bytes(first), Seq(a), b, &proof, root),
            "consistency" => verify_consistency(a, TreeHash::from_bytes(first), b, root, &proof),
            _ => panic!("{line}"),
        };
        match verdict {
            "accepted" => {
                accepted += u32::from(result.inspect_err(|e| panic!("{line}: {e}")).is_ok())
            }
            "refused" => refused += u32::from(result.map(|()| panic!("{line}")).is_err()),
            _ => panic!("{line}"),
        }
    }
    assert_eq!((accepted, refused), (11, 132));
}

#[test]
fn every_proof_of_small_trees_is_that_of_an_independent_implementation() {
    let (mut oracle, mut ours) = (Oracle::new(), MemoryTree::default());
    for size in 1..=130u64 {
        oracle.push(data(size - 1));
        ours.push(leaf(size - 1));
        let root = tree_root(size, &ours).unwrap();
        assert_eq!(root.as_bytes()[..], oracle.root().as_bytes()[..]);
        for seq in 0..size {
            let proof = inclusion_proof(Seq(seq), size, &ours).unwrap();
            assert_eq!(proof.concat(), oracle.prove_inclusion(seq as usize).as_bytes());
            verify_inclusion(leaf(seq), Seq(seq), size, &proof, root).unwrap();
        }
        for old in 1..=size {
            let proof = consistency_proof(old, size, &ours).unwrap();
            let expected = oracle.prove_consistency((size - old) as usize);
            assert_eq!(proof.concat(), expected.as_bytes(), "{old} {size}");
            let old_root = tree_root(old, &ours).unwrap();
            verify_consistency(old, old_root, size, root, &proof).unwrap();
        }
    }
}

/// A small generator, so that a run can be repeated from what it prints.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

#[test]
fn proofs_of_large_trees_are_those_of_an_independent_implementation() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    let size = 66_000 + numbers.below(5_000);
    let (mut oracle, ours, folder) = (Oracle::new(), tree(size), Folder::publish(size));
    (0..size).for_each(|n| oracle.push(data(n)));
    let root = tree_root(size, &folder).unwrap();
    assert_eq!(root.as_bytes()[..], oracle.root().as_bytes()[..]);
    for _ in 0..60 {
        let (seq, old) = (Seq(numbers.below(size)), 1 + numbers.below(size));
        let proof = inclusion_proof(seq, size, &folder).unwrap();
        assert_eq!(proof.concat(), oracle.prove_inclusion(seq.0 as usize).as_bytes(), "{seq}");
        assert_eq!(inclusion_proof(seq, size, &ours).unwrap(), proof, "{seq}");
        verify_inclusion(leaf(seq.0), seq, size, &proof, root).unwrap();
        let proof = consistency_proof(old, size, &folder).unwrap();
        let expected = oracle.prove_consistency((size - old) as usize);
        assert_eq!(proof.concat(), expected.as_bytes(), "{old}");
        assert_eq!(consistency_proof(old, size, &ours).unwrap(), proof, "{old}");
        let old_root = tree_root(old, &ours).unwrap();
        verify_consistency(old, old_root, size, root, &proof).unwrap();
    }
}

#[test]
fn a_proof_reads_two_tiles_of_a_level_at_most_and_none_twice() {
    let size = 66_309;
    let folder = Folder::publish(size);
    let counted = |what: &str| {
        let reads = folder.reads.take();
        for level in 0..4 {
            let prefix = format!("tile/{level}/");
            let of_level = reads.iter().filter(|path| path.starts_with(&prefix)).count();
            assert!(of_level <= 2, "{what}: {reads:?}");
        }
        assert!(reads.iter().all(|path| reads.iter().filter(|p| *p == path).count() == 1));
    };
    for at in [1, 2, 255, 256, 257, 4096, 65_535, 65_536, 65_537, 66_048, 66_300, 66_308] {
        inclusion_proof(Seq(at), size, &folder).unwrap();
        counted("inclusion");
        consistency_proof(at, size, &folder).unwrap();
        counted("consistency");
    }
    tree_root(size, &folder).unwrap();
    assert_eq!(folder.reads.take().len(), 3);
}

#[test]
fn a_proof_of_one_size_holds_for_another_only_where_its_shape_is_the_same() {
    let ours = tree(70);
    let roots: Vec<_> = (0..=70).map(|size| tree_root(size, &ours).unwrap()).collect();
    for size in 1..=70u64 {
        let root = roots[size as usize];
        for seq in 0..size {
            let proof = inclusion_proof(Seq(seq), size, &ours).unwrap();
            let shape = inclusion_shape(seq, size);
            for other in 0..=140 {
                let same = inclusion_shape(seq, other) == shape;
                let held = verify_inclusion(leaf(seq), Seq(seq), other, &proof, root).is_ok();
                assert_eq!(held, same, "{seq} of {size} as of {other}");
                let moved = verify_inclusion(leaf(seq), Seq(other), size, &proof, root).is_ok();
                assert_eq!(moved, other == seq, "{seq} as {other} of {size}");
            }
        }
        for old in 1..=size {
            let proof = consistency_proof(old, size, &ours).unwrap();
            let old_root = roots[old as usize];
            let shape = consistency_shape(old, size, true);
            for other in 0..=140 {
                let same = consistency_shape(old, other, true) == shape;
                let held = verify_consistency(old, old_root, other, root, &proof).is_ok();
                assert_eq!(held, same, "{old} to {size} as to {other}");
                let moved = verify_consistency(other, old_root, size, root, &proof).is_ok();
                assert_eq!(moved, other == old, "{old} as {other} to {size}");
            }
        }
    }
}

#[test]
fn no_size_or_place_is_too_large_to_be_refused() {
    let (leaf, root, hash) = (leaf(0), tree_root(0, &tree(0)).unwrap(), [0; 32]);
    let extremes = [0, 1, 2, 3, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    for a in extremes {
        for b in extremes {
            for length in [0, 1, 2, 62, 63, 64, 65, 128, 1000] {
                let proof = vec![hash; length];
                let seq = Seq(a);
                assert!(verify_inclusion(leaf, seq, b, &proof, root).is_err(), "{a} {b} {length}");
                let held = verify_consistency(a, root, b, root, &proof);
                assert_eq!(held.is_ok(), a == b && a > 0 && length == 0, "{a} {b} {length}");
            }
        }
    }
    let refused = |size| verify_inclusion(leaf, Seq(size), size, &[], root);
    assert_eq!(refused(0), Err(ProofError::NotInTree { seq: Seq(0), size: 0 }));
    assert_eq!(
        refused(u64::MAX),
        Err(ProofError::NotInTree { seq: Seq(u64::MAX), size: u64::MAX })
    );
    let last = Seq(u64::MAX - 1);
    let expected = Err(ProofError::Length { expected: 63, found: 0 });
    assert_eq!(verify_inclusion(leaf, last, u64::MAX, &[], root), expected);
    let expected = Err(ProofError::Length { expected: 64, found: 0 });
    assert_eq!(verify_inclusion(leaf, Seq(0), u64::MAX, &[], root), expected);
    let expected = Err(ProofError::NotAPrefix { old_size: 0, new_size: 0 });
    assert_eq!(verify_consistency(0, root, 0, root, &[]), expected);
}

#[test]
fn what_a_source_lacks_is_named() {
    let (memory, mut folder) = (tree(600), Folder::publish(600));
    let id = TileId { level: 0, index: 2, width: 89 };
    let source = NotGrown { size: 600 };
    let expected = Err(ProveError::Read(ReadError::Source { id, source }));
    assert_eq!(inclusion_proof(Seq(599), 601, &memory), expected);
    let impossible = ProofError::NotInTree { seq: Seq(600), size: 600 };
    assert_eq!(inclusion_proof(Seq(600), 600, &memory), Err(ProveError::Impossible(impossible)));
    assert_eq!(memory.tile(TileId { level: 9, index: u64::MAX, width: 1 }), Err(source));

    folder.files.get_mut("tile/0/001").unwrap().pop();
    let id = TileId { level: 0, index: 1, width: 256 };
    let source = TileError::Length { id, found: 8191 };
    let expected = Err(ProveError::Read(ReadError::Source { id, source }));
    assert_eq!(inclusion_proof(Seq(300), 600, &folder), expected);
    assert!(inclusion_proof(Seq(3), 600, &folder).is_ok());

    struct Generous;
    impl HashSource for Generous {
        type Error = NotGrown;
        fn tile(&self, id: TileId) -> Result<Vec<[u8; 32]>, NotGrown> {
            Ok(vec![[0; 32]; usize::from(id.width) + 1])
        }
    }
    let id = TileId { level: 0, index: 0, width: 3 };
    let expected = ReadError::Width { id, found: 4 };
    assert_eq!(tree_root(3, &Generous), Err(expected.clone()));
    assert_eq!(TileBuilder::resume(3, &Generous), Err(expected));
}

#[test]
fn a_builder_resumed_at_any_size_goes_on_as_one_that_never_stopped() {
    let end = 66_100;
    let (mut builder, mut range, mut written) =
        (TileBuilder::default(), CompactRange::default(), Folder::default());
    let memory = tree(end);
    for n in 0..end {
        // The edges of tiles of every level, and some of the rest.
        if n % 256 <= 1 || n % 256 == 255 || n % 1009 == 0 {
            let resumed = TileBuilder::resume(n, &memory).unwrap();
            assert_eq!((resumed.root(), resumed.size()), (range.root(), n));
            assert_eq!(
                resumed.partial().collect::<Vec<_>>(),
                builder.partial().collect::<Vec<_>>()
            );
            builder = resumed;
        }
        written.keep(builder.push(leaf(n)));
        range.push(leaf(n));
    }
    written.keep(builder.partial());
    assert_eq!(written.files, Folder::publish(end).files);
    let mut expected: Vec<_> = tiles_of(end).map(|id| id.path()).collect();
    expected.sort();
    assert_eq!(written.files.keys().cloned().collect::<Vec<_>>(), expected);
    for id in tiles_of(end) {
        assert_eq!(written.tile(id), Ok(memory.tile(id).unwrap()), "{id}");
    }
}

#[test]
fn partial_tiles_above_the_leaves_need_not_be_kept() {
    for size in [0, 1, 255, 256, 257, 600, 65_535, 65_536, 65_800, 66_309] {
        let (published, mut kept) = (Folder::publish(size), Folder::publish(size));
        kept.files.retain(|path, _| path.starts_with("tile/0/") || !path.contains(".p/"));
        let kept = CompleteTiles(kept);
        assert_eq!(tree_root(size, &kept).unwrap(), tree_root(size, &published).unwrap(), "{size}");
        let resumed = TileBuilder::resume(size, &kept).unwrap();
        assert_eq!(resumed, TileBuilder::resume(size, &published).unwrap(), "{size}");
        for seq in [0, size / 2, size.saturating_sub(1)].map(Seq).into_iter().filter(|_| size > 0) {
            let expected = inclusion_proof(seq, size, &published).unwrap();
            assert_eq!(inclusion_proof(seq, size, &kept).unwrap(), expected, "{seq} of {size}");
        }
    }
    let mut broken = Folder::publish(600);
    broken.files.remove("tile/0/001");
    let refused = tree_root(600, &CompleteTiles(broken)).unwrap_err();
    let id = TileId { level: 1, index: 0, width: 2 };
    assert!(
        matches!(refused, ReadError::Source { id: at, source: ReadError::Source { .. } } if at == id)
    );
    let far = TileId { level: 1, index: u64::MAX, width: 3 };
    assert!(CompleteTiles(tree(3)).tile(far).is_err());
}

#[test]
fn tiles_and_compact_range_agree_on_every_root() {
    let (mut builder, mut range, memory) =
        (TileBuilder::default(), CompactRange::default(), tree(1200));
    let leaves: Vec<_> = (0..1200).map(leaf).collect();
    for n in 0..=1200u64 {
        assert_eq!(builder.root(), range.root(), "{n}");
        assert_eq!(tree_root(n, &memory), Ok(range.root()), "{n}");
        if n > 0 && n % 37 == 0 {
            assert_eq!(mth(&leaves[..n as usize]), *range.root().as_bytes());
            assert_eq!(tree_root(n, &Folder::publish(n)).unwrap(), range.root(), "{n}");
        }
        range.push(leaf(n));
        builder.push(leaf(n));
    }
}

fn flip(hash: &[u8; 32], bit: usize) -> [u8; 32] {
    let mut changed = *hash;
    changed[bit / 8 % 32] ^= 1 << (bit % 8);
    changed
}

proptest! {
    #[test]
    fn a_proof_with_one_bit_changed_is_refused(
        size in 1u64..900, at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(),
        bit in 0usize..256
    ) {
        let ours = tree(size);
        let (root, seq) = (tree_root(size, &ours).unwrap(), at.index(size as usize) as u64);
        let (leaf, seq_bit) = (leaf(seq), seq ^ (1 << (bit % 64)));
        let proof = inclusion_proof(Seq(seq), size, &ours).unwrap();
        prop_assert_eq!(verify_inclusion(leaf, Seq(seq), size, &proof, root), Ok(()));
        let other = LeafHash::from_bytes(flip(leaf.as_bytes(), bit));
        prop_assert!(verify_inclusion(other, Seq(seq), size, &proof, root).is_err());
        let other = TreeHash::from_bytes(flip(root.as_bytes(), bit));
        prop_assert!(verify_inclusion(leaf, Seq(seq), size, &proof, other).is_err());
        prop_assert!(verify_inclusion(leaf, Seq(seq_bit), size, &proof, root).is_err());
        let other = size ^ (1 << (bit % 64));
        let same_shape = other < 2000 && inclusion_shape(seq, other) == inclusion_shape(seq, size);
        prop_assert_eq!(verify_inclusion(leaf, Seq(seq), other, &proof, root).is_ok(), same_shape);
        if !proof.is_empty() {
            let mut changed = proof.clone();
            let hash = which.get_mut(&mut changed);
            *hash = flip(hash, bit);
            prop_assert!(verify_inclusion(leaf, Seq(seq), size, &changed, root).is_err());
            prop_assert!(verify_inclusion(leaf, Seq(seq), size, &proof[1..], root).is_err());
        }
        let longer = [&proof[..], &[[0; 32]]].concat();
        prop_assert!(verify_inclusion(leaf, Seq(seq), size, &longer, root).is_err());
    }

    #[test]
    fn a_continuation_with_one_bit_changed_is_refused(
        size in 1u64..900, at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(),
        bit in 0usize..256
    ) {
        let ours = tree(size);
        let old = 1 + at.index(size as usize) as u64;
        let (root, old_root) = (tree_root(size, &ours).unwrap(), tree_root(old, &ours).unwrap());
        let proof = consistency_proof(old, size, &ours).unwrap();
        prop_assert_eq!(verify_consistency(old, old_root, size, root, &proof), Ok(()));
        let other = TreeHash::from_bytes(flip(old_root.as_bytes(), bit));
        prop_assert!(verify_consistency(old, other, size, root, &proof).is_err());
        let other = TreeHash::from_bytes(flip(root.as_bytes(), bit));
        prop_assert!(verify_consistency(old, old_root, size, other, &proof).is_err());
        let other = old ^ (1 << (bit % 64));
        prop_assert!(verify_consistency(other, old_root, size, root, &proof).is_err());
        if !proof.is_empty() {
            let mut changed = proof.clone();
            let hash = which.get_mut(&mut changed);
            *hash = flip(hash, bit);
            prop_assert!(verify_consistency(old, old_root, size, root, &changed).is_err());
            prop_assert!(verify_consistency(old, old_root, size, root, &proof[1..]).is_err());
        }
        let longer = [&proof[..], &[[0; 32]]].concat();
        prop_assert!(verify_consistency(old, old_root, size, root, &longer).is_err());
    }
}
