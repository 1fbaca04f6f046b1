//! Ways to cheat, each refused with its reason.

use annals_events::{
    ApprovalGiven, ApprovalId, ApproversChanged, BlobRef, Digest, Direction, LeafHash,
    ListSignature, RunId, RunOutcome, Seq, Timestamp,
};
use annals_keys::SecretKey;
use annals_migrations::{PLAN_FORMAT, Plan, PlanError, Precondition, RiskLevel, Terms};
use uuid::Uuid;

use crate::*;

const ORIGIN: &str = "shop/production";

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + second * 1_000_000)
}

struct Scene {
    keys: Vec<SecretKey>,
    approvers: Approvers,
    policy: Policy,
    register: Register,
    plan: Plan,
    risk: RiskLevel,
    now: Timestamp,
}

fn list(keys: &[SecretKey], quorum: usize) -> String {
    let entry = |name: &str, roles: &str, keys: &[&SecretKey]| {
        let keys: Vec<String> =
            keys.iter().map(|key| format!("{:?}", key.verifier().to_string())).collect();
        format!(
            "[[approver]]\nname = {name:?}\nactors = [\"{name}@work\"]\nroles = [{roles}]\nkeys = [{}]\n",
            keys.join(", ")
        )
    };
    format!(
        "quorum = {quorum}\n{}{}{}",
        entry("ada", "\"dba\", \"lead\"", &[&keys[0], &keys[3]]),
        entry("ben", "\"dba\"", &[&keys[1]]),
        entry("cyd", "", &[&keys[2]]),
    )
}

impl Scene {
    fn new() -> Self {
        let names = ["ada", "ben", "cyd", "ada"];
        let keys: Vec<SecretKey> =
            names.iter().map(|name| SecretKey::generate(name).unwrap()).collect();
        let approvers = Approvers::parse(&list(&keys, 2)).unwrap();
        let policy = Policy { required: 2, expires_after_ms: 1_000_000, ..Policy::default() };
        let terms = Terms {
            approvers: approvers.digest,
            author: "dan".into(),
            expires_at: at(1_000),
            made_at: at(0),
            origin: ORIGIN.into(),
            policy: policy.digest(),
            proofs: Vec::new(),
            risk: RiskLevel::High,
            risk_reasons: vec!["scan".into()],
            schema: Digest::of(b"schema"),
        };
        let plan = Plan {
            format: PLAN_FORMAT,
            workspace: "shop".into(),
            target: "production".into(),
            direction: Direction::Up,
            precondition: Precondition {
                log_size: 0,
                log_head: LeafHash::ZERO,
                system_identifier: "1".into(),
                database: "shop".into(),
            },
            out_of_order: Vec::new(),
            single_transaction: false,
            steps: Vec::new(),
            terms: Some(terms),
        };
        let register = Register::default();
        Self { keys, approvers, policy, register, plan, risk: RiskLevel::High, now: at(10) }
    }

    fn gate(&self) -> Gate<'_> {
        Gate {
            origin: ORIGIN,
            policy: &self.policy,
            approvers: &self.approvers,
            register: &self.register,
            now: self.now,
            risk: self.risk,
        }
    }

    fn signed(&self, key: usize, approver: &str, plan: Digest, origin: &str) -> ApprovalGiven {
        let approval = ApprovalId(Uuid::from_u128(self.register.given.len() as u128 + 1));
        let expires_at = Some(at(900));
        let message = approval_message(origin, &plan, approval, approver, expires_at);
        let signature = self.keys[key].sign_message(APPROVAL, message.as_bytes());
        ApprovalGiven {
            approval,
            approver: approver.into(),
            expires_at,
            key: self.keys[key].verifier().to_string(),
            plan,
            signature: encode_signature(&signature),
        }
    }

    fn record(&mut self, given: ApprovalGiven) {
        let (seq, at) = (Seq(1), at(5));
        self.register.given.push(GivenApproval { given, seq, at, revoked: None });
    }

    fn approve(&mut self, key: usize, approver: &str) {
        let given = self.signed(key, approver, self.plan.hash(), ORIGIN);
        self.record(given);
    }

    fn judged(&self) -> Result<usize, String> {
        let terms = self.plan.terms.clone().unwrap();
        let judged = self.gate().judge(&self.plan, &self.plan.hash(), &terms);
        judged.map(|counted| counted.len()).map_err(|denied| {
            assert_eq!(denied.need, 2);
            denied.not_counted.join("; ")
        })
    }

    fn void(&self) -> String {
        let terms = self.plan.terms.clone().unwrap();
        check_plan(&self.gate(), &self.plan, &self.plan.hash(), &terms).join("; ")
    }
}

#[test]
fn two_people_are_enough_and_one_with_two_keys_is_one() {
    let mut scene = Scene::new();
    scene.approve(0, "ada");
    scene.approve(3, "ada");
    assert_eq!(scene.judged().unwrap_err(), "");
    scene.approve(1, "ben");
    assert_eq!(scene.judged(), Ok(2));
    assert_eq!(scene.void(), "");
}

#[test]
fn the_author_counts_for_nothing_under_any_name_unless_the_policy_says_so() {
    for author in ["ada", "ADA", "ada@work"] {
        let mut scene = Scene::new();
        scene.plan.terms.as_mut().unwrap().author = author.into();
        scene.approve(0, "ada");
        scene.approve(1, "ben");
        assert!(scene.judged().unwrap_err().contains("ada: has made the plan"));
        scene.policy.author_may_approve = true;
        assert_eq!(scene.judged(), Ok(2));
    }
}

#[test]
fn what_was_signed_for_something_else_does_not_count() {
    let mut scene = Scene::new();
    scene.approve(0, "ada");
    let hash = scene.plan.hash();
    // Another log; another name; a key that is nobody's; an approval of another plan.
    let elsewhere = scene.signed(1, "ben", hash, "shop/staging");
    let renamed = ApprovalGiven { approver: "cyd".into(), ..scene.signed(1, "ben", hash, ORIGIN) };
    let swapped = scene.signed(1, "cyd", hash, ORIGIN);
    let other = ApprovalGiven { plan: hash, ..scene.signed(1, "ben", Digest::of(b"x"), ORIGIN) };
    let longer =
        ApprovalGiven { expires_at: Some(at(999)), ..scene.signed(1, "ben", hash, ORIGIN) };
    let stranger = SecretKey::generate("ben").unwrap();
    let unknown = {
        let mut given = scene.signed(1, "ben", hash, ORIGIN);
        let message = approval_message(ORIGIN, &hash, given.approval, "ben", given.expires_at);
        given.key = stranger.verifier().to_string();
        given.signature = encode_signature(&stranger.sign_message(APPROVAL, message.as_bytes()));
        given
    };
    let domain = {
        let mut given = scene.signed(1, "ben", hash, ORIGIN);
        let message = approval_message(ORIGIN, &hash, given.approval, "ben", given.expires_at);
        given.signature =
            encode_signature(&scene.keys[1].sign_message(APPROVERS, message.as_bytes()));
        given
    };
    let cases = [
        (elsewhere, "does not fit"),
        (renamed, "does not fit"),
        (swapped, "not theirs"),
        (other, "does not fit"),
        (longer, "does not fit"),
        (unknown, "not theirs"),
        (domain, "does not fit"),
    ];
    for (given, why) in cases {
        scene.record(given);
        let said = scene.judged().unwrap_err();
        assert!(said.contains(why), "{said} should say {why}");
        scene.register.given.pop();
    }
    let good = scene.signed(1, "ben", hash, ORIGIN);
    scene.record(good);
    assert_eq!(scene.judged(), Ok(2));
}

#[test]
fn every_flipped_bit_of_a_signature_is_seen() {
    let scene = Scene::new();
    let good = scene.signed(1, "ben", scene.plan.hash(), ORIGIN);
    check_approval(ORIGIN, &good).unwrap();
    let all: Vec<char> = good.signature.chars().collect();
    for at in 0..all.len() {
        let mut text = all.clone();
        text[at] = if text[at] == 'A' { 'B' } else { 'A' };
        let given = ApprovalGiven { signature: text.iter().collect(), ..good.clone() };
        assert!(check_approval(ORIGIN, &given).is_err(), "character {at}");
    }
}

#[test]
fn what_lapsed_or_was_taken_back_does_not_count() {
    let mut scene = Scene::new();
    scene.approve(0, "ada");
    scene.approve(1, "ben");
    scene.now = at(900);
    assert!(scene.judged().unwrap_err().contains("lapsed"));
    assert_eq!(scene.void(), "");
    scene.now = at(1_000);
    assert!(scene.void().contains("lapsed"));
    scene.now = at(10);
    scene.register.given[1].revoked = Some((at(9), "wrong day".into()));
    assert!(scene.judged().unwrap_err().contains("ben: taken back at"));
}

#[test]
fn roles_names_and_rollbacks_are_asked_for() {
    let mut scene = Scene::new();
    scene.policy.roles = vec!["dba".into()];
    scene.approve(0, "ada");
    scene.approve(2, "cyd");
    assert!(scene.judged().unwrap_err().contains("cyd: has none of the roles dba"));
    scene.approve(1, "ben");
    assert_eq!(scene.judged(), Ok(2));
    scene.policy.of = vec!["ada".into(), "cyd".into()];
    assert!(scene.judged().unwrap_err().contains("ben: is not among"));
    scene.policy.of.clear();
    scene.policy.rollback_roles = vec!["lead".into()];
    assert_eq!(scene.judged(), Ok(2));
    let lead = scene.policy.requirement(RiskLevel::Low, Direction::Down);
    assert_eq!(lead.roles, ["lead"]);
}

#[test]
fn a_plan_is_void_when_anything_it_was_made_under_is_otherwise() {
    type Change = fn(&mut Scene);
    let cases: &[(Change, &str)] = &[
        (|s| s.plan.terms.as_mut().unwrap().origin = "shop/staging".into(), "the log"),
        (|s| s.plan.terms.as_mut().unwrap().expires_at = at(1_001), "longer than the policy"),
        (|s| s.plan.terms.as_mut().unwrap().made_at = at(11), "to come"),
        (|s| s.policy.required = 1, "policy"),
        (|s| s.policy.break_glass = true, "policy"),
        (|s| s.approvers.digest = Digest::of(b"other"), "list of approvers"),
        (|s| s.risk = RiskLevel::Critical, "risk is critical now"),
    ];
    assert_eq!(Scene::new().void(), "");
    for (change, why) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        assert!(scene.void().contains(why), "{} should say {why}", scene.void());
    }
}

#[test]
fn a_plan_that_says_less_risk_than_there_is_needs_what_the_risk_needs() {
    let mut scene = Scene::new();
    scene.policy.required = 1;
    scene.policy.by_risk.insert(RiskLevel::Critical, 3);
    scene.approve(0, "ada");
    scene.plan.terms.as_mut().unwrap().risk = RiskLevel::Low;
    scene.risk = RiskLevel::Critical;
    let terms = scene.plan.terms.clone().unwrap();
    let denied = scene.gate().judge(&scene.plan, &scene.plan.hash(), &terms).unwrap_err();
    assert_eq!(denied.need, 3);
}

#[test]
fn an_edited_plan_file_is_another_plan_or_none() {
    let scene = Scene::new();
    let text = scene.plan.to_canonical_json();
    let (read, _) = Plan::from_stored(text.as_bytes()).unwrap();
    assert_eq!(read.hash(), scene.plan.hash());
    assert!(Plan::from_stored(format!("{text}\n").as_bytes()).is_ok());
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        let mut edited = bytes.to_vec();
        edited[at] = if edited[at] == b'1' { b'2' } else { b'1' };
        if edited == bytes {
            continue;
        }
        if let Ok((plan, _)) = Plan::from_stored(&edited) {
            assert_ne!(plan.hash(), scene.plan.hash(), "byte {at}");
        }
    }
    let spaced = text.replacen(':', ": ", 1);
    assert!(matches!(Plan::from_stored(spaced.as_bytes()), Err(PlanError::OtherSpelling)));
    let more = text.replacen('{', "{\"also\":1,", 1);
    assert!(matches!(Plan::from_stored(more.as_bytes()), Err(PlanError::Malformed(_))));
    let bare = Plan { terms: None, ..scene.plan };
    let bare = bare.to_canonical_json();
    assert!(matches!(Plan::from_stored(bare.as_bytes()), Err(PlanError::NoTerms)));
}

#[test]
fn a_new_list_needs_signatures_of_the_list_before_it() {
    let scene = Scene::new();
    let more = list(&scene.keys, 1);
    let after = Approvers::parse(&more).unwrap();
    let sign = |key: usize, name: &str, to: &Digest| {
        let message = approvers_message("shop", &scene.approvers.digest, to, name);
        let signature = scene.keys[key].sign_message(APPROVERS, message.as_bytes());
        ListSignature {
            approver: name.into(),
            key: scene.keys[key].verifier().to_string(),
            signature: encode_signature(&signature),
        }
    };
    let change = |signatures: Vec<ListSignature>| ApproversChanged {
        approvers: 3,
        before: Some(scene.approvers.digest),
        list: BlobRef { digest: after.digest, size: more.len() as u64 },
        signatures,
    };
    let check = |change: &ApproversChanged| check_change("shop", Some(&scene.approvers), change);
    let (ada, ben) = (sign(0, "ada", &after.digest), sign(1, "ben", &after.digest));
    assert_eq!(check(&change(vec![ada.clone(), ben.clone()])), Ok(()));
    assert!(check(&change(Vec::new())).unwrap_err().contains("0 of 2"));
    // One person with two keys, and a signature for another list.
    let again = sign(3, "ada", &after.digest);
    assert!(check(&change(vec![ada.clone(), again])).unwrap_err().contains("1 of 2"));
    let other = sign(1, "ben", &Digest::of(b"other"));
    assert!(check(&change(vec![ada.clone(), other])).unwrap_err().contains("does not fit"));
    let elsewhere = check_change("blog", Some(&scene.approvers), &change(vec![ada, ben]));
    assert!(elsewhere.unwrap_err().contains("0 of 2"));
    let first = ApproversChanged { before: None, ..change(Vec::new()) };
    assert_eq!(check_change("shop", None, &first), Ok(()));
    assert!(check(&first).is_err());
}

#[test]
fn lists_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    let key = scene.keys[0].verifier().to_string();
    let person =
        |name: &str, key: &str| format!("[[approver]]\nname = {name:?}\nkeys = [{key:?}]\n");
    let cases = [
        (format!("quorum = 0\n{}", person("ada", &key)), "quorum"),
        (format!("quorum = 2\n{}", person("ada", &key)), "quorum"),
        (format!("quorum = 1\n{}", person("Ada", &key)), "a name is"),
        (format!("quorum = 1\n{}", person("ben", &key)), "its key is of"),
        (format!("quorum = 1\n{0}{0}", person("ada", &key)), "somebody else"),
        (format!("quorum = 1\n{}", person("ada", "ssh-rsa AAAA")), "ssh-ed25519"),
        ("quorum = 1\ncolour = 1\n".to_owned(), "colour"),
    ];
    for (text, why) in cases {
        let error = Approvers::parse(&text).unwrap_err().to_string();
        assert!(error.contains(why), "{error} should say {why}");
    }
    let ssh = scene.keys[0].verifier().to_ssh();
    let twice = format!("quorum = 1\n{}{}", person("ada", &key), person("ben", &ssh));
    assert!(Approvers::parse(&twice).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_plan_made_on_another_log_is_seen() {
    let mut plan = Scene::new().plan;
    assert_eq!(check_head(&plan, 5, None), None);
    plan.precondition.log_size = 3;
    plan.precondition.log_head = LeafHash::of_line(b"x");
    assert_eq!(check_head(&plan, 5, Some(LeafHash::of_line(b"x"))), None);
    assert!(check_head(&plan, 5, Some(LeafHash::of_line(b"y"))).unwrap().contains("another"));
    assert!(check_head(&plan, 2, None).unwrap().contains("has 2"));
}

#[test]
fn a_plan_that_was_run_is_spent_and_one_that_was_cut_short_is_not() {
    let story = |outcome: RunOutcome| {
        let mut scene = Scene::new();
        let hash = scene.plan.hash();
        let run = RunId(Uuid::nil());
        scene.register.tell_run(hash, run, "eva", at(3), Some(outcome));
        scene.void()
    };
    assert!(story(RunOutcome::Succeeded).contains("carried out already, by eva"));
    assert!(story(RunOutcome::Failed).contains("carried out already"));
    assert_eq!(story(RunOutcome::Interrupted), "");
}
