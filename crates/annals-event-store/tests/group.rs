//! Many threads, one file log: what each is told, and what is written for all of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals_event_store::{
    AppendError, Disk, DiskFile, FileLog, GroupLog, Layout, LogFiles, OpenOptions, RealDisk,
};
use annals_events::{Draft, Recorded, SealError, Timestamp};
use fixture::{beginning, fact, key, origin, repair, ring, time};

/// What a write to a segment meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    FailToSync,
    Panic,
}

/// This machine's disk; each write to a segment that is open for appending asks first.
#[derive(Clone)]
struct GatedDisk {
    asked: Sender<usize>,
    orders: Arc<Mutex<Receiver<Order>>>,
}

struct GatedFile {
    file: File,
    gate: Option<GatedDisk>,
    order: Order,
}

impl Write for GatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            gate.asked.send(lines).unwrap();
            self.order = gate.orders.lock().unwrap().recv().unwrap();
            assert_ne!(self.order, Order::Panic, "ordered to");
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for GatedFile {
    fn sync_data(&mut self) -> io::Result<()> {
        match self.order {
            Order::FailToSync => Err(io::Error::other("ordered to")),
            _ => self.file.sync_data(),
        }
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Disk for GatedDisk {
    type File = GatedFile;
    type Folder = File;
    type Lock = File;

    fn create(&self, path: &Path) -> io::Result<GatedFile> {
        Ok(GatedFile { file: RealDisk.create(path)?, gate: None, order: Order::GoOn })
    }

    fn open_append(&self, path: &Path) -> io::Result<GatedFile> {
        let gate = Some(self.clone());
        Ok(GatedFile { file: RealDisk.open_append(path)?, gate, order: Order::GoOn })
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_folder(&self, path: &Path) -> io::Result<File> {
        RealDisk.open_folder(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        RealDisk.is_file(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        RealDisk.is_folder(path)
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_read_only(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<File, String>> {
        RealDisk.lock(path, holder)
    }
}

/// Long enough for any machine; only a thread nobody wakes waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A thread by its name, and what it was told.
type Told = (u64, Result<Vec<Recorded>, AppendError>);

/// A shared log whose writes wait for orders.
struct Room {
    folder: tempfile::TempDir,
    log: Arc<GroupLog<GatedDisk>>,
    asked: Receiver<usize>,
    orders: Sender<Order>,
    tell: Sender<Told>,
    told: Receiver<Told>,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ((asked_to, asked), (orders, orders_from)) = (channel(), channel());
        let disk = GatedDisk { asked: asked_to, orders: Arc::new(Mutex::new(orders_from)) };
        let (ring, layout) = (ring(), Layout::new(folder.path().join("log")));
        let options =
            OpenOptions { ring: &ring, known: &[], now: time(0), holder: "me", repair: &repair };
        let log = FileLog::create_on(disk, layout, &origin(), &beginning(), &key(), &options);
        let log = Arc::new(GroupLog::new(log.unwrap().0));
        let (tell, told) = channel();
        Self { folder, log, asked, orders, tell, told }
    }

    /// Starts a thread that appends `drafts` and says what it was told.
    fn append(&self, name: u64, drafts: Vec<Draft>, now: Timestamp) {
        let (log, tell) = (Arc::clone(&self.log), self.tell.clone());
        std::thread::spawn(move || {
            let result = log.append(drafts, now);
            tell.send((name, result)).unwrap();
        });
    }

    /// A thread that leads, and waits within its write until it is given an order.
    fn lead(&self) {
        self.append(0, vec![fact(0, 0)], time(1_000_000));
        assert_eq!(self.asked.recv_timeout(PATIENCE), Ok(1));
    }

    fn wait_until_waiting(&self, threads: usize) {
        let until = std::time::Instant::now() + PATIENCE;
        while self.log.waiting() < threads {
            assert!(std::time::Instant::now() < until, "{} wait", self.log.waiting());
            std::thread::yield_now();
        }
    }

    fn told(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("a thread was left waiting")
    }

    /// All events of the log, verified.
    fn read(&self) -> Vec<Recorded> {
        let mut events = Vec::new();
        let files = LogFiles::find(&Layout::new(self.folder.path().join("log"))).unwrap();
        let scanned = files.scan(&[], &mut |recorded, _| events.push(recorded.clone())).unwrap();
        assert_eq!(scanned.damage, None);
        events
    }
}

#[test]
fn all_who_wait_are_written_at_once_and_each_is_told_its_own_events() {
    let room = Room::new();
    room.lead();
    for n in 1..=7 {
        room.append(n, vec![fact(2 * n, 0), fact(2 * n + 1, 0)], time(1_000_000));
    }
    room.wait_until_waiting(7);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(14), "one write for all of them");
    room.orders.send(Order::GoOn).unwrap();
    let mut told: Vec<_> = (0..8).map(|_| room.told()).collect();
    told.sort_by_key(|(name, _)| *name);
    let events = room.read();
    for (name, told) in told {
        let told = told.unwrap();
        let first = usize::try_from(told[0].seq.0).unwrap();
        assert_eq!(events[first..first + told.len()], told, "{name}: next to each other, in order");
        assert_eq!(told.len(), if name == 0 { 1 } else { 2 });
    }
    assert_eq!(events.len(), 16);
    assert!(room.asked.try_recv().is_err(), "nothing more is written");
}

#[test]
fn a_request_that_is_refused_leaves_the_others_of_its_batch_alone() {
    let room = Room::new();
    room.lead();
    room.append(1, vec![fact(1, 0)], time(1_000_000));
    room.append(2, vec![fact(2, 0), fact(3, 70_000)], time(1_000_000));
    room.append(3, vec![fact(4, 0)], time(1_000_000));
    room.append(4, Vec::new(), time(1_000_000));
    room.wait_until_waiting(4);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(2));
    room.orders.send(Order::GoOn).unwrap();
    for _ in 0..5 {
        let (name, told) = room.told();
        match name {
            2 => assert!(matches!(told, Err(AppendError::Refused(SealError::Unstorable { .. })))),
            4 => assert_eq!(told.unwrap(), []),
            _ => assert_eq!(told.unwrap().len(), 1),
        }
    }
    assert_eq!(room.read().len(), 4);
}

#[test]
fn a_failed_sync_is_told_to_all_of_the_batch_and_closes_the_log() {
    let room = Room::new();
    room.lead();
    for n in 1..=3 {
        room.append(n, vec![fact(n, 0)], time(1_000_000));
    }
    room.wait_until_waiting(3);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(3));
    room.orders.send(Order::FailToSync).unwrap();
    for _ in 0..4 {
        match room.told() {
            (0, told) => assert_eq!(told.unwrap().len(), 1),
            (_, told) => assert!(matches!(told, Err(AppendError::NotDurable(_)))),
        }
    }
    let told = room.log.append(vec![fact(9, 0)], time(1_000_000));
    assert!(matches!(told, Err(AppendError::Stopped)));
}

#[test]
fn a_panic_of_the_one_who_writes_leaves_nobody_waiting_and_closes_the_log() {
    let room = Room::new();
    room.lead();
    for n in 1..=3 {
        room.append(n, vec![fact(n, 0)], time(1_000_000));
    }
    room.wait_until_waiting(3);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(3));
    room.append(4, vec![fact(4, 0)], time(1_000_000));
    room.wait_until_waiting(1);
    room.orders.send(Order::Panic).unwrap();
    // The one who panicked says nothing; its two companions do not know, the last came later.
    for _ in 0..4 {
        match room.told() {
            (0, told) => assert_eq!(told.unwrap().len(), 1),
            (4, told) => assert!(matches!(told, Err(AppendError::Stopped))),
            (_, told) => assert!(matches!(told, Err(AppendError::NotDurable(_)))),
        }
    }
    let told = room.log.append(vec![fact(9, 0)], time(1_000_000));
    assert!(matches!(told, Err(AppendError::Stopped)));
    assert_eq!(room.read().len(), 2);
}

#[test]
fn the_clock_of_a_batch_is_the_latest_of_those_who_wait() {
    let room = Room::new();
    room.lead();
    // By itself the first would be refused: its clock is ten seconds behind the last event.
    room.append(1, vec![fact(1, 0)], time(-9_000_000));
    room.wait_until_waiting(1);
    room.append(2, vec![fact(2, 0)], time(2_000_000));
    room.append(3, vec![fact(3, 0)], time(-1_000_000));
    room.wait_until_waiting(3);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(3));
    room.orders.send(Order::GoOn).unwrap();
    for _ in 0..4 {
        assert_eq!(room.told().1.unwrap().len(), 1);
    }
    let times: Vec<_> = room.read()[1..].iter().map(|event| event.recorded_at).collect();
    assert_eq!(times, [time(1_000_000), time(2_000_000), time(2_000_001), time(2_000_002)]);
    let told = room.log.append(vec![fact(5, 0)], time(-4_000_000));
    assert!(matches!(told, Err(AppendError::Refused(SealError::ClockWentBack { .. }))));
}

#[test]
fn nobody_leads_for_longer_than_its_own_append() {
    let room = Room::new();
    room.lead();
    room.append(1, vec![fact(1, 0)], time(1_000_000));
    room.wait_until_waiting(1);
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.asked.recv_timeout(PATIENCE), Ok(1));
    // The second write waits for orders; the first leader has its answer all the same.
    let (name, told) = room.told();
    assert_eq!((name, told.unwrap().len()), (0, 1));
    room.orders.send(Order::GoOn).unwrap();
    assert_eq!(room.told().0, 1);
}
