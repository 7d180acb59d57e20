//! Fetching from a hub on the loopback: what goes well, what breaks, and what means harm.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod server;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use headstart_hub::{Fetched, HubError, Settings, Step, Token, fetch};
use server::{Answer, Repository, Server, part, sha256};
use tempfile::TempDir;

/// A cache of its own, and settings for it.
struct Desk {
    folder: TempDir,
    settings: Settings,
}

impl Desk {
    fn at(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            cache: folder.path().join("hub"),
            endpoint: server.url.clone(),
            token: None,
            offline: false,
            largest: 1 << 30,
            patience: Duration::from_secs(20),
            attempts: 3,
            pause: Duration::from_millis(1),
        };
        Self { folder, settings }
    }

    fn fetch(&self, reference: &str) -> Result<Fetched, HubError> {
        self.watch(reference, &mut |_| {})
    }

    fn watch(&self, reference: &str, observe: &mut dyn FnMut(Step<'_>)) -> Result<Fetched, HubError> {
        fetch(&reference.parse()?, &self.settings, &AtomicBool::new(false), observe)
    }

    fn repository(&self) -> std::path::PathBuf {
        self.settings.cache.join("models--bees--tiny")
    }

    fn blob(&self, bytes: &[u8]) -> std::path::PathBuf {
        self.repository().join("blobs").join(sha256(bytes))
    }

    /// Everything below the cache, links as links.
    fn tree(&self) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, root, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), self.folder.path(), &mut found);
        found.sort();
        found
    }
}

/// Bytes that differ everywhere, so that a part in the wrong place shows.
fn weights(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

fn hub(repository: Repository) -> Server {
    Server::start(move |request| repository.answer(request))
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn weights_are_found_fetched_verified_and_then_served_without_the_network() {
    let bytes = weights(300_000);
    let server =
        hub(Repository::new(&[("README.md", b"# bees"), ("model.safetensors", &bytes), ("tf_model.h5", b"x")]));
    let mut desk = Desk::at(&server);
    let mut seen = Vec::new();
    let fetched = desk
        .watch("hf:bees/tiny", &mut |step| {
            if let Step::Received { done, total, .. } = step {
                seen.push((done, total));
            }
        })
        .unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), bytes);
    assert_eq!(fetched.pinned.to_string(), format!("hf:bees/tiny@{COMMIT}:model.safetensors"));
    assert_eq!(fetched.digest.to_string(), format!("sha256:{}", sha256(&bytes)));
    assert_eq!(seen.last(), Some(&(300_000, 300_000)));
    assert!(seen.is_sorted());

    // The layout of huggingface_hub, to the letter.
    let (name, digest) = ("hub/models--bees--tiny", sha256(&bytes));
    let expected = [
        format!("hub/.locks/models--bees--tiny/{digest}.lock"),
        format!("{name}/blobs/{digest}"),
        format!("{name}/refs/main"),
        format!("{name}/snapshots/{COMMIT}/model.safetensors"),
    ];
    assert_eq!(desk.tree(), expected);
    assert_eq!(std::fs::read_to_string(desk.repository().join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&fetched.path).unwrap(), Path::new("../../blobs").join(&digest));

    let requests = server.requests().len();
    assert_eq!(desk.fetch("hf:bees/tiny").unwrap(), fetched);
    desk.settings.offline = true;
    assert_eq!(desk.fetch("hf:bees/tiny:model.safetensors").unwrap(), fetched);
    assert_eq!(desk.fetch(&fetched.pinned.to_string()).unwrap(), fetched);
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn offline_and_absent_is_told_as_such() {
    let server = hub(Repository::new(&[("model.safetensors", b"x")]));
    let mut desk = Desk::at(&server);
    desk.settings.offline = true;
    let error = desk.fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }) && error.is_out_of_reach(), "{error}");
    assert!(error.help().unwrap().contains("HF_HUB_OFFLINE"));
    assert!(server.requests().is_empty() && desk.tree().is_empty());
}

#[test]
fn large_files_come_from_where_the_hub_redirects_to_and_the_token_stays_behind() {
    let bytes = weights(5000);
    let content = bytes.clone();
    // Its own ETag is no digest of the file, as with S3.
    let cdn =
        Server::start(move |request| part(&content, request).with("ETag", "\"d41d8cd98f00b204e9800998ecf8427e-2\""));
    let server = hub(Repository { cdn: Some(cdn.url.clone()), ..Repository::new(&[("model.safetensors", &bytes)]) });
    let mut desk = Desk::at(&server);
    desk.settings.token = Token::new("hf_secret").unwrap();
    let fetched = desk.fetch("hf:bees/tiny").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
    assert!(server.requests().iter().all(|request| request.headers["authorization"] == "Bearer hf_secret"));
    let from_cdn = cdn.requests();
    assert_eq!(from_cdn.len(), 1);
    assert!(!from_cdn[0].headers.contains_key("authorization"), "{from_cdn:?}");
}

#[test]
fn a_cut_connection_goes_on_where_it_stopped() {
    let bytes = weights(200_000);
    let (content, rounds) = (Repository::new(&[("model.safetensors", &bytes)]), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let answer = content.answer(request);
        if request.method == "GET" && rounds.fetch_add(1, Ordering::Relaxed) < 4 {
            let sent = answer.body.len().min(30_000);
            return answer.cut_after(sent);
        }
        answer
    });
    let desk = Desk::at(&server);
    let fetched = desk.fetch("hf:bees/tiny:model.safetensors").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
    let starts: Vec<Option<usize>> = server.downloads().iter().map(|request| request.start()).collect();
    assert_eq!(starts, [None, Some(30_000), Some(60_000), Some(90_000), Some(120_000)]);
}

#[test]
fn a_download_that_was_given_up_or_killed_is_continued_by_the_next_run() {
    let bytes = weights(100_000);
    let (content, broken) = (Repository::new(&[("model.safetensors", &bytes)]), Arc::new(AtomicBool::new(true)));
    let switch = Arc::clone(&broken);
    let server = Server::start(move |request| {
        let answer = content.answer(request);
        if request.method == "GET" && switch.load(Ordering::Relaxed) {
            let sent = if request.start().is_some() { 0 } else { 40_000 };
            return answer.cut_after(sent);
        }
        answer
    });
    let desk = Desk::at(&server);
    let error = desk.fetch("hf:bees/tiny:model.safetensors").unwrap_err();
    assert!(matches!(error, HubError::Cut { received: 40_000, size: 100_000, .. }), "{error}");
    assert!(error.help().unwrap().contains("goes on"));
    let partial = desk.repository().join("blobs").join(format!("{}.incomplete", sha256(&bytes)));
    assert_eq!(std::fs::read(&partial).unwrap(), bytes[..40_000]);
    broken.store(false, Ordering::Relaxed);
    let fetched = desk.fetch("hf:bees/tiny:model.safetensors").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(server.downloads().last().unwrap().start(), Some(40_000));
    assert!(!partial.exists());
}

#[test]
fn a_server_that_ignores_the_range_begins_anew_instead_of_appending() {
    let bytes = weights(50_000);
    let content = Repository::new(&[("model.safetensors", &bytes)]);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        content.answer(&plain)
    });
    let desk = Desk::at(&server);
    std::fs::create_dir_all(desk.repository().join("blobs")).unwrap();
    let partial = desk.repository().join("blobs").join(format!("{}.incomplete", sha256(&bytes)));
    std::fs::write(partial, &bytes[..20_000]).unwrap();
    let fetched = desk.fetch("hf:bees/tiny:model.safetensors").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(server.downloads()[0].start(), Some(20_000));
}

#[test]
fn leftovers_that_are_wrong_or_too_long_do_no_harm() {
    let bytes = weights(50_000);
    for leftover in [vec![7; 20_000], vec![7; 50_000], vec![7; 60_000]] {
        let server = hub(Repository::new(&[("model.safetensors", &bytes)]));
        let desk = Desk::at(&server);
        std::fs::create_dir_all(desk.repository().join("blobs")).unwrap();
        let partial = desk.repository().join("blobs").join(format!("{}.incomplete", sha256(&bytes)));
        std::fs::write(partial, &leftover).unwrap();
        let mut refused = 0;
        let fetched = desk
            .watch("hf:bees/tiny", &mut |step| refused += usize::from(matches!(step, Step::Refused { .. })))
            .unwrap();
        assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
        assert_eq!(refused, usize::from(leftover.len() <= bytes.len()));
    }
}

#[test]
fn another_size_than_described_is_refused() {
    let bytes = weights(1000);
    for (claimed, sent) in [(1200, 1200), (900, 900)] {
        let content = Repository::new(&[("model.safetensors", &bytes)]);
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => content.answer(request),
            _ => Answer::new(200, weights(sent)).claiming(claimed),
        });
        let desk = Desk::at(&server);
        let error = desk.fetch("hf:bees/tiny:model.safetensors").unwrap_err();
        assert!(
            matches!(&error, HubError::Size { expected: 1000, found, .. } if *found == claimed.to_string()),
            "{error}"
        );
        assert!(error.help().is_some());
    }
}

#[test]
fn a_wrong_digest_is_told_fetched_anew_once_and_then_refused() {
    let (right, mut wrong) = (weights(9000), weights(9000));
    wrong[4711] ^= 1;
    for wrong_rounds in [1, 2] {
        let content = Repository::new(&[("model.safetensors", &right)]);
        let (wrong, rounds) = (wrong.clone(), AtomicUsize::new(0));
        let server = Server::start(move |request| match request.method.as_str() {
            "GET" if rounds.fetch_add(1, Ordering::Relaxed) < wrong_rounds => part(&wrong, request),
            _ => content.answer(request),
        });
        let desk = Desk::at(&server);
        let mut told = Vec::new();
        let result = desk.watch("hf:bees/tiny:model.safetensors", &mut |step| {
            if let Step::Refused { error } = step {
                told.push(error.to_string());
            }
        });
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("is not what its repository says"), "{told:?}");
        assert_eq!(server.downloads().len(), 2);
        match (wrong_rounds, result) {
            (1, Ok(fetched)) => assert_eq!(std::fs::read(fetched.path).unwrap(), right),
            (2, Err(HubError::Digest { expected, .. })) => {
                assert_eq!(expected.to_hex(), sha256(&right));
                assert!(!desk.blob(&right).exists());
                assert!(!desk.tree().iter().any(|path| path.contains("snapshots")));
            }
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cached_file_that_was_damaged_is_told_and_replaced_or_refused_when_offline() {
    let bytes = weights(4000);
    let server = hub(Repository::new(&[("model.safetensors", &bytes)]));
    let mut desk = Desk::at(&server);
    let fetched = desk.fetch("hf:bees/tiny").unwrap();
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    std::fs::write(desk.blob(&bytes), &damaged).unwrap();
    desk.settings.offline = true;
    let error = desk.fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }) && !error.is_out_of_reach(), "{error}");
    assert_eq!(std::fs::read(desk.blob(&bytes)).unwrap(), damaged, "nothing is deleted");
    desk.settings.offline = false;
    let mut refused = 0;
    desk.watch("hf:bees/tiny", &mut |step| refused += usize::from(matches!(step, Step::Refused { .. }))).unwrap();
    assert_eq!((refused, std::fs::read(fetched.path).unwrap()), (1, bytes));
}

#[test]
fn refusals_are_told_apart() {
    type IsRight = fn(&HubError) -> bool;
    let cases: [(&str, u16, &str, IsRight, &str); 6] = [
        ("RepoNotFound", 401, "hf:bees/none", |error| matches!(error, HubError::NoRepository { .. }), "HF_TOKEN"),
        ("GatedRepo", 403, "hf:bees/tiny", |error| matches!(error, HubError::Refused { status: 403, .. }), "token"),
        ("", 401, "hf:bees/tiny", |error| matches!(error, HubError::Refused { status: 401, .. }), "hf auth login"),
        ("RevisionNotFound", 404, "hf:bees/tiny@v9", |error| matches!(error, HubError::NoRevision { .. }), "@REVISION"),
        ("EntryNotFound", 404, "hf:bees/tiny:x.bin", |error| matches!(error, HubError::NoFile { .. }), ":FILE"),
        ("", 404, "hf:bees/none", |error| matches!(error, HubError::NoRepository { .. }), "compare the name"),
    ];
    for (code, status, reference, is_right, help) in cases {
        let server = Server::start(move |_| match code {
            "" => Answer::new(status, "no"),
            code => Answer::refusal(status, code),
        });
        let error = Desk::at(&server).fetch(reference).unwrap_err();
        assert!(is_right(&error) && !error.is_out_of_reach(), "{code} {status}: {error:?}");
        assert!(error.help().unwrap().contains(help), "{:?}", error.help());
    }
}

#[test]
fn a_busy_server_is_asked_again_and_a_dead_one_is_out_of_reach() {
    let (content, rounds) = (Repository::new(&[("model.safetensors", b"abc")]), AtomicUsize::new(0));
    let server = Server::start(move |request| match rounds.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Answer::new(503, "later"),
        _ => content.answer(request),
    });
    assert!(Desk::at(&server).fetch("hf:bees/tiny").is_ok());

    let always = Server::start(|_| Answer::new(503, "later"));
    let error = Desk::at(&always).fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::Status { status: 503, .. }) && error.is_out_of_reach(), "{error}");

    let mut desk = Desk::at(&server);
    // A port that nobody listens on: bound, asked for its number, and let go.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.settings.endpoint = format!("http://{free}");
    let error = desk.fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }) && error.is_out_of_reach(), "{error}");
}

#[test]
fn silence_ends_after_the_patience() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(60));
        Answer::new(200, "")
    });
    let mut desk = Desk::at(&server);
    desk.settings.patience = Duration::from_millis(200);
    let error = desk.fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(&error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn claims_of_the_server_are_bounded() {
    let content = Repository::new(&[("model.safetensors", b"abc")]);
    let huge = content.clone();
    let server = Server::start(move |request| {
        let mut answer = huge.answer(request);
        for (name, value) in &mut answer.headers {
            if name == "X-Linked-Size" {
                *value = u64::MAX.to_string();
            }
        }
        answer
    });
    let desk = Desk::at(&server);
    let error = desk.fetch("hf:bees/tiny:model.safetensors").unwrap_err();
    assert!(matches!(error, HubError::TooLarge { claimed: u64::MAX, .. }), "{error}");
    assert!(desk.tree().is_empty());

    // A listing that never ends, and one that is none.
    let endless = Server::start(|_| Answer::new(200, vec![b' '; 17 << 20]));
    let error = Desk::at(&endless).fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::TooLarge { .. }), "{error}");
    let page = Server::start(|_| Answer::new(200, "<html>log in to the network</html>"));
    let error = Desk::at(&page).fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }) && error.help().unwrap().contains("proxy"), "{error}");
}

#[test]
fn headers_that_would_lead_out_of_the_cache_are_refused() {
    for (header, value) in [
        ("X-Linked-Etag", "../../../../evil"),
        ("X-Linked-Etag", ""),
        ("X-Repo-Commit", "../../../evil"),
        ("X-Repo-Commit", "main"),
        ("X-Linked-Size", "-1"),
        ("X-Linked-Size", "many"),
    ] {
        let content = Repository::new(&[("model.safetensors", b"abc")]);
        let server = Server::start(move |request| {
            let mut answer = content.answer(request);
            for (name, old) in &mut answer.headers {
                if name == header {
                    *old = value.to_owned();
                }
            }
            answer
        });
        let desk = Desk::at(&server);
        let error = desk.fetch("hf:bees/tiny:model.safetensors").unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{header} {value}: {error}");
        assert!(desk.tree().is_empty(), "{:?}", desk.tree());
    }
}

#[test]
fn listed_names_that_are_no_files_of_ours_are_not_taken() {
    let server = Server::start(|_| {
        let siblings =
            serde_json::json!([{ "rfilename": "../../evil.safetensors" }, { "rfilename": "/etc/x.safetensors" }]);
        Answer::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string())
    });
    let error = Desk::at(&server).fetch("hf:bees/tiny").unwrap_err();
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
}

#[test]
fn redirects_in_circles_and_to_nowhere_end() {
    let circle = Server::start(|request| Answer::new(302, "").with("Location", &request.path));
    let error = Desk::at(&circle).fetch("hf:bees/tiny:x.bin").unwrap_err();
    assert!(matches!(&error, HubError::Answer { reason, .. } if reason.contains("circles")), "{error}");
    let nowhere = Server::start(|_| Answer::new(302, ""));
    assert!(matches!(Desk::at(&nowhere).fetch("hf:bees/tiny"), Err(HubError::Answer { .. })));
    let file = Server::start(|_| Answer::new(302, "").with("Location", "file:///etc/passwd"));
    assert!(matches!(Desk::at(&file).fetch("hf:bees/tiny"), Err(HubError::Answer { .. })));
}

#[test]
fn a_renamed_repository_is_followed_at_the_hub() {
    let content = Repository::new(&[("model.safetensors", b"abc")]);
    let server = Server::start(move |request| match request.path.strip_prefix("/old/name/") {
        Some(rest) => Answer::new(307, "").with("Location", format!("/bees/tiny/{rest}")),
        None => content.answer(request),
    });
    let desk = Desk::at(&server);
    let fetched = desk.fetch("hf:old/name:model.safetensors").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), b"abc");
}

#[test]
fn names_and_revisions_of_all_kinds_find_their_files() {
    let bytes = weights(700);
    let repository = Repository {
        revision: "refs/pr/1".to_owned(),
        ..Repository::new(&[("süß & sauer/größe #1?.bin", &bytes)])
    };
    let server = hub(repository);
    let mut desk = Desk::at(&server);
    let fetched = desk.fetch("hf:bees/tiny@refs/pr/1:süß & sauer/größe #1?.bin").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), bytes);
    assert!(fetched.path.starts_with(desk.repository().join("snapshots").join(COMMIT)));
    desk.settings.offline = true;
    assert_eq!(desk.fetch("hf:bees/tiny@refs/pr/1:süß & sauer/größe #1?.bin").unwrap(), fetched);
    assert!(desk.fetch("hf:bees/tiny:süß & sauer/größe #1?.bin").is_err(), "main was never looked up");
}

#[test]
fn two_at_once_fetch_once() {
    let bytes = weights(400_000);
    let content = Repository::new(&[("model.safetensors", &bytes)]);
    let server = Server::start(move |request| {
        if request.method == "GET" {
            std::thread::sleep(Duration::from_millis(300));
        }
        content.answer(request)
    });
    let desk = Desk::at(&server);
    let (barrier, waited) = (Barrier::new(2), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                let fetched = desk
                    .watch("hf:bees/tiny:model.safetensors", &mut |step| {
                        waited.fetch_add(usize::from(matches!(step, Step::Waiting { .. })), Ordering::Relaxed);
                    })
                    .unwrap();
                assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
            });
        }
    });
    assert_eq!(server.downloads().len(), 1);
    assert_eq!(waited.load(Ordering::Relaxed), 1);
}

#[test]
fn the_stop_flag_ends_a_download_and_keeps_what_has_arrived() {
    let bytes = weights(1 << 20);
    let server = hub(Repository::new(&[("model.safetensors", &bytes)]));
    let desk = Desk::at(&server);
    let stop = AtomicBool::new(false);
    let error =
        fetch(&"hf:bees/tiny".parse().unwrap(), &desk.settings, &stop, &mut |_| stop.store(true, Ordering::Relaxed))
            .unwrap_err();
    assert!(matches!(error, HubError::Stopped { .. }), "{error}");
    let partial = desk.repository().join("blobs").join(format!("{}.incomplete", sha256(&bytes)));
    let kept = std::fs::read(partial).unwrap();
    assert!(!kept.is_empty() && kept.len() < bytes.len() && bytes.starts_with(&kept));
    assert!(!desk.blob(&bytes).exists());
    assert_eq!(std::fs::read(desk.fetch("hf:bees/tiny").unwrap().path).unwrap(), bytes);
}

#[test]
fn shards_of_a_tensorflow_js_model_come_with_it() {
    let manifest =
        br#"{"format": "layers-model", "weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": []}]}"#;
    let shard = weights(64);
    let server =
        hub(Repository::new(&[("model.json", manifest), ("group1-shard1of1.bin", &shard), ("README.md", b"")]));
    let mut desk = Desk::at(&server);
    let fetched = desk.fetch("hf:bees/tiny").unwrap();
    assert!(fetched.digest.to_string().starts_with("git-sha1:"));
    assert_eq!(std::fs::read(fetched.path.with_file_name("group1-shard1of1.bin")).unwrap(), shard);
    desk.settings.offline = true;
    assert_eq!(desk.fetch("hf:bees/tiny").unwrap(), fetched);
}

#[test]
fn what_huggingface_hub_left_in_the_cache_is_used() {
    let server = Server::start(|_| Answer::new(500, "never asked"));
    let desk = Desk::at(&server);
    let (bytes, snapshot) = (weights(333), desk.repository().join("snapshots").join(COMMIT));
    for folder in [desk.repository().join("blobs"), desk.repository().join("refs"), snapshot.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(desk.repository().join("refs/main"), COMMIT).unwrap();
    std::fs::write(desk.blob(&bytes), &bytes).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(format!("../../blobs/{}", sha256(&bytes)), snapshot.join("pytorch_model.bin")).unwrap();
    #[cfg(not(unix))]
    std::fs::write(snapshot.join("pytorch_model.bin"), &bytes).unwrap();
    // And a file that Windows would have there, which no link vouches for.
    std::fs::write(snapshot.join("config.json"), "{}").unwrap();
    let fetched = desk.fetch("hf:bees/tiny").unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(desk.fetch("hf:bees/tiny:config.json").unwrap().digest.to_hex(), sha256(b"{}"));
    assert!(server.requests().is_empty());
}
