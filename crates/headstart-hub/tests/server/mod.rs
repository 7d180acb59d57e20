//! A hub of our own on the loopback: small, real HTTP/1.1, and as ill-behaved as a test asks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// First byte that a `Range` header asks for.
    pub(crate) fn start(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer. `length` is what it claims, which need not be what it sends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) length: Option<u64>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Claims `length` bytes.
    pub(crate) fn claiming(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Claims all of its body and sends only this much.
    pub(crate) fn cut_after(mut self, sent: usize) -> Self {
        self.length = Some(self.body.len() as u64);
        self.body.truncate(sent);
        self
    }

    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        Self::new(status, "no").with("X-Error-Code", code)
    }
}

/// A server that runs until the test ends.
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&log), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // A client that goes away is no failure of the server.
                    let _ = serve(stream, &seen, answer.as_ref());
                });
            }
        });
        Self { url, log }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Requests that fetch bytes of files.
    pub(crate) fn downloads(&self) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.method == "GET" && !request.path.contains("/api/"))
            .collect()
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?.take(1 << 16));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let request = Request { method, path, headers };
    log.lock().unwrap().push(request.clone());
    let answer = answer(&request);
    let mut stream = stream;
    let length = answer.length.unwrap_or(answer.body.len() as u64);
    write!(stream, "HTTP/1.1 {} X\r\nContent-Length: {length}\r\nConnection: close\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body)?;
    }
    stream.flush()
}

/// What a well-behaved hub has: one repository with one revision.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Where bytes of large files come from; they come from the hub itself where there is none.
    pub(crate) cdn: Option<String>,
}

impl Repository {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        Self {
            name: "bees/tiny".to_owned(),
            revision: "main".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            cdn: None,
        }
    }

    /// Answers as the hub does.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let path = percent_encoding::percent_decode_str(&request.path).decode_utf8().unwrap().into_owned();
        let revisions = [&self.revision, &self.commit];
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let Some(revision) = rest.strip_prefix(&format!("{}/revision/", self.name)) else {
                return Answer::refusal(404, "RepoNotFound");
            };
            if !revisions.iter().any(|known| *known == revision) {
                return Answer::refusal(404, "RevisionNotFound");
            }
            let siblings: Vec<_> = self.files.keys().map(|file| serde_json::json!({ "rfilename": file })).collect();
            let info = serde_json::json!({ "id": self.name, "sha": self.commit, "siblings": siblings });
            return Answer::new(200, info.to_string());
        }
        let Some(rest) = path.strip_prefix(&format!("/{}/resolve/", self.name)) else {
            return Answer::refusal(404, "RepoNotFound");
        };
        let Some(file) = revisions.iter().find_map(|known| rest.strip_prefix(&format!("{known}/"))) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let Some(bytes) = self.files.get(file) else { return Answer::refusal(404, "EntryNotFound") };
        if is_large(file) {
            let described = |answer: Answer| {
                answer
                    .with("X-Repo-Commit", &self.commit)
                    .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
                    .with("X-Linked-Size", bytes.len())
            };
            return match &self.cdn {
                Some(cdn) => described(Answer::new(302, "moved")).with("Location", format!("{cdn}/{file}?Signature=s")),
                None => described(part(bytes, request)),
            };
        }
        part(bytes, request).with("X-Repo-Commit", &self.commit).with("ETag", format!("\"{}\"", git_sha1(bytes)))
    }
}

/// All bytes, or those from where the request wants them.
pub(crate) fn part(bytes: &[u8], request: &Request) -> Answer {
    match request.start() {
        None => Answer::new(200, bytes),
        Some(start) if start >= bytes.len() => Answer::new(416, ""),
        Some(start) => Answer::new(206, &bytes[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
    }
}

/// Which files the hub keeps as LFS objects.
fn is_large(file: &str) -> bool {
    [".safetensors", ".bin", ".h5"].iter().any(|ending| file.ends_with(ending))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
