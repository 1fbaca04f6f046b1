//! The golden log as an auditor gets it: a published copy, the keys, heads that were kept, an
//! export, and proofs of single events.

use std::collections::BTreeMap;

use annals_events::{
    BundleId, HashSource, LeafHash, MemoryTree, Seq, bundles_of, inclusion_proof, tiles_of,
};
use annals_keys::TlogProof;

use crate::story::{Published, Story};

/// Files by their path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The lines of a log, without LF.
pub(crate) fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1]).collect()
}

pub(crate) fn tree(lines: &[&[u8]]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    lines.iter().for_each(|line| tree.push(LeafHash::of_line(line)));
    tree
}

/// The tiles and entry bundles of the first `size` lines.
pub(crate) fn tiles(lines: &[&[u8]], size: u64) -> Files {
    let (tree, mut files) = (tree(lines), Files::new());
    for id in tiles_of(size) {
        files.insert(id.path(), tree.tile(id).unwrap().concat());
    }
    for id in bundles_of(size) {
        let BundleId { index, width } = id;
        let first = index as usize * 256;
        let bundle = id.encode(&lines[first..first + usize::from(width)]).unwrap();
        files.insert(id.path(), bundle);
    }
    files
}

/// The lines as segments, cut at `sizes`.
pub(crate) fn segments(lines: &[&[u8]], sizes: &[u64]) -> Files {
    let mut files = Files::new();
    for pair in [&[0], sizes].concat().windows(2) {
        let (from, to) = (pair[0] as usize, pair[1] as usize);
        let bytes: Vec<u8> =
            lines[from..to].iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        files.insert(format!("segments/{from:020}.jsonl"), bytes);
    }
    files
}

/// An export: the signed head, an empty line, the lines.
pub(crate) fn export(lines: &[&[u8]], head: &Published) -> Vec<u8> {
    let lines = &lines[..head.size as usize];
    let mut bytes = format!("{}\n", head.note).into_bytes();
    lines.iter().for_each(|line| bytes.extend([line, &b"\n"[..]].concat()));
    bytes
}

pub(crate) fn proof(lines: &[&[u8]], seq: u64, head: &Published) -> Vec<u8> {
    let hashes = inclusion_proof(Seq(seq), head.size, &tree(lines)).unwrap();
    let extra = Some(lines[seq as usize].to_vec());
    TlogProof::new(extra, seq, hashes, head.note.clone()).unwrap().to_string().into_bytes()
}

/// The published copy alone.
pub(crate) fn copy(story: &Story) -> Files {
    let lines = lines(&story.bytes);
    let mut sizes: Vec<u64> = story.published.iter().map(|head| head.size).collect();
    sizes.dedup();
    let last = story.published.last().unwrap();
    let mut files = segments(&lines, &sizes);
    files.extend(tiles(&lines, last.size));
    // What an earlier publication has left: tiles never change and are never deleted.
    files.extend(tiles(&lines, story.published[0].size));
    files.insert("checkpoint".into(), last.note.clone().into_bytes());
    for (digest, content) in &story.blobs {
        files.insert(format!("blobs/sha256/{digest}"), content.clone());
    }
    files
}

/// All that is committed.
pub(crate) fn golden() -> Files {
    let story = Story::told();
    let lines = lines(&story.bytes);
    let mut files = copy(&story);
    let note =
        "# Keys of the golden log. Their secret halves are public: they sign nothing else.\n";
    files.insert("log.pub".into(), format!("{note}{}", story.ring).into_bytes());
    for head in &story.published {
        files.insert(format!("kept/{}", head.size), head.note.clone().into_bytes());
    }
    let (early, last) = (&story.published[1], story.published.last().unwrap());
    files.insert("export".into(), export(&lines, early));
    for seq in [0, 137, 255, 256, last.size - 1] {
        files.insert(format!("proofs/{seq}.tlog-proof"), proof(&lines, seq, last));
    }
    files.insert(format!("proofs/3-of-{}.tlog-proof", early.size), proof(&lines, 3, early));
    files
}
