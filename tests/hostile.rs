//! Texts made to hurt: the parser's time grows with their length alone, and its memory stays far below theirs.
//!
//! `cargo test --release --test hostile -- --ignored --nocapture` prints what 64 MiB of each cost.
#![allow(clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lbc::source::{Source, SourceId};

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counters hold no memory of their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let now = NOW.fetch_add(size, Ordering::Relaxed) + size;
        PEAK.fetch_max(now, Ordering::Relaxed);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counters are of the whole process: one measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A start, and what is repeated behind it.
const TEXTS: &[(&str, &str)] = &[
    ("", "a"),
    ("", "-"),
    ("", "{"),
    ("", "}"),
    ("", "\""),
    ("", "#"),
    ("", ","),
    ("", ";"),
    ("", " "),
    ("", "\n"),
    ("", "\r"),
    ("", "\r\n"),
    ("", "é"),
    ("", "\u{a0}"),
    ("", "0"),
    ("", ":"),
    ("", "->"),
    ("", "x;"),
    ("", "x\n"),
    ("", "x,\n"),
    ("", "x {\n"),
    ("", "#\n"),
    ("", "# \" {\n"),
    ("", "{\n}\n"),
    ("", "a:80,"),
    ("", "host a=1.1.1.1;"),
    ("", "host a=1.1.1.1\n"),
    ("", "host a=\n"),
    ("", "host a=,\n"),
    ("", "net a=b;"),
    ("", "include \"x\";"),
    ("", "include \"x;"),
    ("", "default log;"),
    ("", "balance tcp 1->a;"),
    ("", "balance tcp 1 -> {\n"),
    ("", "balance tcp {\n"),
    ("", "balance tcp 80\n\n"),
    ("", "balance tcp 1 from {a,b},c on {d} -> {e};"),
    ("", "pool p={a\n"),
    ("host ", "a"),
    ("host ", "é"),
    ("host a", " "),
    ("host a=", "1"),
    ("host a=", "::"),
    ("host a=", "1.1.1.1,"),
    ("host a=", "::,\n"),
    ("host a=", "x,"),
    ("host a=", ","),
    ("host a=", "\n"),
    ("host a=", "# \n"),
    ("net a=", "b,"),
    ("net a=", "::,"),
    ("net a=", "1.1.1.1/8,"),
    ("net a=1.1.1.1/", "0"),
    ("include \"", "a"),
    ("include \"x\"", " "),
    ("pool p=", "a,"),
    ("pool p=", "a:80,"),
    ("pool p=", "a weight 1,"),
    ("pool p=", "a weight x,"),
    ("pool p=a", " backup"),
    ("pool p=", "[::1]:1,"),
    ("pool p={", "a\n"),
    ("pool p={", "a "),
    ("pool p={", "a;"),
    ("pool p={", "\"\n"),
    ("pool p={", ","),
    ("pool p={", "\n,"),
    ("pool p={", "a\nweight "),
    ("pool p={", "a # \n"),
    ("pool p={", "->"),
    ("balance ", "tcp,"),
    ("balance ", "tcp "),
    ("balance tcp ", "80,"),
    ("balance tcp ", "80 "),
    ("balance tcp {", "a,"),
    ("balance tcp {", "a "),
    ("balance tcp {", "a\n"),
    ("balance tcp {", "- "),
    ("balance tcp {", "\n"),
    ("balance tcp 80 ", "counter "),
    ("balance tcp 80 ", "x "),
    ("balance tcp 80 ", "by ! "),
    ("balance tcp 80 ", "from ! "),
    ("balance tcp 80 ", "from a! "),
    ("balance tcp 80 ", "from {! "),
    ("balance tcp 80 ", "from a,"),
    ("balance tcp 80 ", "on \" "),
    ("balance tcp 80 ", "sticky 1"),
    ("balance tcp 80 ", "by source-hash seed 1 seed "),
    ("balance tcp 80 from ", "a,"),
    ("balance tcp 80 from ", "!,"),
    ("balance tcp 80 from ", "! "),
    ("balance tcp 80 from ", "!by "),
    ("balance tcp 80 from {", "! "),
    ("balance tcp 80 on ", "x,"),
    ("balance tcp 80 on ", "x"),
    ("balance tcp 80 on ", "é"),
    ("balance tcp 80 on ", "\"x\","),
    ("balance tcp 80 sticky ", "1s"),
    ("balance tcp 80 sticky ", "1"),
    ("balance tcp 80 log \"", "a"),
    ("balance tcp 80", "\n"),
    ("balance tcp 80", "# \n"),
    ("balance tcp 80 -> ", "a,"),
    ("balance tcp 80 -> ", "a b,"),
    ("balance tcp 80 -> ", "\n"),
    ("balance tcp 80 ->", " ->"),
];

/// As [`TEXTS`]: what is right as far as it goes, and fills memory with what was read.
const LARGE: &[(&str, &str)] =
    &[("", "host a=::1;"), ("", "default log;"), ("", "balance tcp 1->a;"), ("net a=", "b,"), ("pool p=", "a,")];

fn text(start: &str, unit: &str, len: usize) -> String {
    let mut text = String::with_capacity(len);
    text.push_str(start);
    while text.len() + unit.len() <= len {
        text.push_str(unit);
    }
    text
}

/// What it costs to parse a text and to say where its errors are.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Processor time of this thread, in seconds.
    seconds: f64,
    /// The most memory that was held at a time beside the text, in bytes.
    memory: usize,
}

fn cost(text: String) -> Cost {
    let source = Source::new("x.lb", "x.lb", text);
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = thread_seconds();
    let (file, errors) = lbc::file::parse(&source, SourceId(0));
    for error in &errors {
        source.position(error.primary.loc.span.start);
    }
    let seconds = thread_seconds() - start;
    let memory = PEAK.load(Ordering::Relaxed) - before;
    assert!(errors.len() <= lbc::syntax::MAX_ERRORS + 1);
    drop(file);
    Cost { seconds, memory }
}

fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to a valid place.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the clock of the thread is always there");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn eight_times_the_text_takes_no_more_than_eight_times_as_long() {
    let _alone = ALONE.lock();
    const SMALL: usize = 16 << 10;
    for (start, unit) in TEXTS {
        // A quadratic scan would take 64 times as long. One good run of three shows that there is none.
        let ratio = |()| {
            let small = cost(text(start, unit, SMALL)).seconds.max(0.000_3);
            cost(text(start, unit, 8 * SMALL)).seconds / small
        };
        let good = std::iter::repeat_n((), 3).map(ratio).any(|ratio| ratio < 24.0);
        assert!(good, "{start:?} {unit:?}: eight times the text takes much more than eight times as long");
    }
}

#[test]
fn a_file_costs_bounded_memory() {
    let _alone = ALONE.lock();
    for (start, unit) in LARGE {
        // A list that grows is copied, so that for a moment there are the old one and a new one of twice its size.
        let memory = cost(text(start, unit, lbc::source::MAX_SOURCE_BYTES)).memory;
        assert!(memory < 2 * lbc::syntax::MAX_TREE_BYTES, "{start:?} {unit:?}: {} MiB", memory >> 20);
    }
}

#[test]
#[ignore = "a measurement: the largest file, for each text"]
fn sixty_four_mebibytes() {
    let _alone = ALONE.lock();
    for (start, unit) in TEXTS.iter().chain(LARGE) {
        let Cost { seconds, memory } = cost(text(start, unit, lbc::source::MAX_SOURCE_BYTES));
        println!("{:8.1} ms {:6} MiB  {start:?} {unit:?}", seconds * 1e3, memory >> 20);
    }
}
