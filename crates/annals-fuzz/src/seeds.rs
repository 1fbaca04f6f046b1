//! Valid inputs to begin with.

use annals_events::{
    BundleId, LeafHash, MemoryTree, Seq, TileId, consistency_proof, inclusion_proof, tree_root,
};
use annals_keys::{Checkpoint, SecretKey, TlogProof};

/// Leaves of the tree that all seeds are about.
const SIZE: u64 = 300;

/// A key whose secret everybody knows: RFC 8032, section 7.1, test 1.
const SECRET: &str = "PRIVATE+KEY+fuzz/log+34ebcd5e+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

/// The key that signs the checkpoints.
pub fn secret_key() -> SecretKey {
    SecretKey::parse(SECRET).expect("the constant is a key")
}

/// One line of every kind of event.
pub fn lines() -> Vec<Vec<u8>> {
    let log = include_bytes!("../../../event-store/vectors/every-kind.jsonl");
    let lines = log.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

fn heads() -> Vec<Checkpoint> {
    let tree = tree();
    let head = |origin: &str, size: u64| Checkpoint {
        origin: origin.parse().expect("the constant is an origin"),
        size,
        root: tree_root(size, &tree).expect("the tree has so many leaves"),
    };
    vec![head("fuzz/log", 0), head("fuzz/log", SIZE), head("a.b/c_d/e-f", 7)]
}

fn tree() -> MemoryTree {
    (0..SIZE).map(|n| LeafHash::of_line(&n.to_be_bytes())).collect()
}

/// Signed checkpoints.
pub fn checkpoints() -> Vec<Vec<u8>> {
    heads().iter().map(|head| head.sign(&secret_key()).into_bytes()).collect()
}

/// What is signed in them.
pub fn checkpoint_texts() -> Vec<Vec<u8>> {
    let text = |note: Vec<u8>| {
        let end = note.windows(2).rposition(|pair| pair == b"\n\n").expect("a note has a text");
        note[..=end].to_vec()
    };
    checkpoints().into_iter().map(text).collect()
}

/// Signed notes: checkpoints, a text with empty lines, one with two signatures.
pub fn notes() -> Vec<Vec<u8>> {
    let mut notes = checkpoints();
    notes.push(secret_key().sign_note("one\n\ntwo\n\n\u{2014} three AAAAAAA=\n").into_bytes());
    let twice = [&checkpoints()[0][..], "\u{2014} other AAECAwQ=\n".as_bytes()].concat();
    notes.push(twice);
    notes
}

/// Public keys, as in a key file and bare.
pub fn verifier_keys() -> Vec<Vec<u8>> {
    let key = secret_key().verifier();
    let example = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    vec![key.to_string().into_bytes(), format!("{key}\n").into_bytes(), example.into()]
}

/// Files with everything that breaks a search for semicolons.
pub fn sql_files() -> Vec<Vec<u8>> {
    let files = [
        "select 1;",
        "\u{feff}-- a ; '\r\nselect 'a;''b', E'\\';', U&'x', B'0', \"c;\"\"\" /* ; /* */ ' */;\r\n",
        "select $$;$a$;$$, $a$;$$;$b$;$a$, a$b$, $1 from größe;",
        "create or replace function f() returns int begin atomic; select case 1 when 1 then 2 end; end;\
         select 3",
        "create rule r as on insert to t do also (delete from a; delete from b);",
        "copy t (a) from stdin with (format csv); -- x\r\n1;'\n\\.x\n\\.\r\nselect 2;",
        "copy t from stdin;\n\\.",
    ];
    files.map(|file| file.as_bytes().to_vec()).into()
}

/// Paths of tiles and of bundles.
pub fn tile_paths() -> Vec<Vec<u8>> {
    let tile = |level, index, width| TileId { level, index, width }.path();
    let bundle = |index, width| BundleId { index, width }.path();
    let paths = [
        tile(0, 0, 1),
        tile(0, 1_234, 5),
        tile(1, 1_234_067, 256),
        tile(63, u64::MAX, 255),
        bundle(0, 256),
        bundle(1_234_067, 17),
    ];
    paths.map(String::into_bytes).to_vec()
}

/// Tiles behind a byte of width.
pub fn tile_bytes() -> Vec<Vec<u8>> {
    let tile =
        |width: u16| [&[(width - 1) as u8][..], &vec![0x5a; usize::from(width) * 32]].concat();
    vec![tile(1), tile(3), tile(256)]
}

/// Bundles behind a byte of width.
pub fn bundle_bytes() -> Vec<Vec<u8>> {
    let bundle = |lines: &[Vec<u8>]| {
        let id = BundleId { index: 0, width: lines.len() as u16 };
        let bytes = id.encode(lines).expect("the lines fit a bundle");
        [&[(lines.len() - 1) as u8][..], &bytes].concat()
    };
    let short: Vec<Vec<u8>> = (0..=255u8).map(|n| vec![n; usize::from(n % 3)]).collect();
    vec![bundle(&lines()), bundle(&[Vec::new()]), bundle(&short)]
}

/// Proofs with and without extra data, of the first and the last leaf, as long and as short as one
/// may be.
pub fn tlog_proofs() -> Vec<Vec<u8>> {
    let (tree, checkpoints) = (tree(), checkpoints());
    let proof = |extra: Option<&[u8]>, seq: u64, size: u64, note: &[u8]| {
        let hashes = inclusion_proof(Seq(seq), size, &tree).expect("the leaf is in the tree");
        let note = String::from_utf8(note.to_vec()).expect("a note is text");
        let proof = TlogProof::new(extra.map(<[u8]>::to_vec), seq, hashes, note);
        proof.expect("the parts are a proof").to_string().into_bytes()
    };
    let note = String::from_utf8(checkpoints[1].clone()).expect("a note is text");
    let longest = TlogProof::new(None, u64::MAX, vec![[0xff; 32]; 64], note);
    let short = b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 0\n\na\n\n\xe2\x80\x94 a AAECAwQ=\n";
    vec![
        short.to_vec(),
        longest.expect("a proof has up to 64 hashes").to_string().into_bytes(),
        proof(None, 0, SIZE, &checkpoints[1]),
        proof(Some(b"{\"kind\":\"x\"}"), SIZE - 1, SIZE, &checkpoints[1]),
        proof(Some(b"x"), 3, 7, &checkpoints[2]),
        proof(None, 0, 1, &checkpoints[0]),
    ]
}

/// Two numbers of eight bytes, two hashes and the proof: of inclusion, then of consistency.
pub fn merkle_proofs() -> Vec<Vec<u8>> {
    let tree = tree();
    let root = |size| *tree_root(size, &tree).expect("the tree has so many leaves").as_bytes();
    let input = |a: u64, b: u64, first: [u8; 32], root: [u8; 32], proof: Vec<[u8; 32]>| {
        [&a.to_be_bytes()[..], &b.to_be_bytes(), &first, &root, &proof.concat()].concat()
    };
    let leaf = |seq: u64| *LeafHash::of_line(&seq.to_be_bytes()).as_bytes();
    let included = [(0, SIZE), (255, SIZE), (SIZE - 1, SIZE), (4, 7), (0, 1)].map(|(seq, size)| {
        let proof = inclusion_proof(Seq(seq), size, &tree).expect("the leaf is in the tree");
        input(seq, size, leaf(seq), root(size), proof)
    });
    let continued = [(1, SIZE), (256, SIZE), (299, SIZE), (6, 7), (7, 7)].map(|(old, new)| {
        let proof = consistency_proof(old, new, &tree).expect("the tree has both sizes");
        input(old, new, root(old), root(new), proof)
    });
    [included, continued].concat()
}
