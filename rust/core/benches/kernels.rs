//! Micro benches of the pure kernels, with the bars they have to meet on one core:
//! offset scan ≤ 6 µs for 16 KiB and ≤ 0.5 µs for 1 KiB, SSE framing ≥ 1 GB/s, window check ≤ 60 ns.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use ailink_core::kernel::cost::{Usage, cost};
use ailink_core::kernel::features::{complexity, features};
use ailink_core::kernel::nearest::nearest;
use ailink_core::kernel::price::{Listed, Price, Rates};
use ailink_core::kernel::retry_budget::RetryBudget;
use ailink_core::kernel::router::Router;
use ailink_core::kernel::window::Window;
use ailink_core::prompt;
use ailink_core::wire::json::{elements, scan_object, scan_value_object};
use ailink_core::wire::multipart::parts;
use ailink_core::wire::sse::{Framer, data};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// What the pipeline looks for in a chat request.
const WANTED: [&str; 12] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "n",
    "user",
    "metadata",
    "temperature",
    "seed",
];

const PROSE: &str = "The gateway reads the request once, finds the name of the model and the flag for streaming, and leaves \
    every other byte as it is; whoever wants the whole tree pays for it. ";
const MARKDOWN: &str = "# Title\\n\\n* first \\\"item\\\"\\n* second item, a bit longer than the first\\n\\n```rust\\nfn main() {\\n    \
    println!(\\\"hello\\\");\\n}\\n```\\n";
const CHINESE: &str = "网关只读取一次请求，找到模型名称和流标志，其余字节保持原样。";

/// A chat request of about `size` bytes whose `count` messages hold repetitions of `text`.
fn chat(size: usize, count: usize, text: &str) -> Vec<u8> {
    let mut body = String::from(
        r#"{"model": "gpt-4o-mini", "temperature": 0.7, "max_tokens": 512, "stream": true, "messages": ["#,
    );
    for index in 0..count {
        let role = if index == 0 {
            "system"
        } else if index % 2 == 1 {
            "user"
        } else {
            "assistant"
        };
        let _ = write!(body, r#"{}{{"role": "{role}", "content": ""#, if index == 0 { "" } else { ", " });
        let until = body.len() + (size - 160 - count * 34) / count;
        while body.len() + text.len() <= until {
            body.push_str(text);
        }
        body.push_str("\"}");
    }
    body.push_str(r#"], "user": "customer-4711", "metadata": {"team": "search"}}"#);
    body.into_bytes()
}

/// A request that is mostly tool schemas: short strings and punctuation.
fn tools(size: usize) -> Vec<u8> {
    let mut body = String::from(r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"tools":["#);
    let mut index = 0;
    while body.len() < size {
        let _ = write!(
            body,
            r#"{}{{"type":"function","function":{{"name":"lookup_{index}","description":"Looks up a thing by its number.","parameters":{{"type":"object","properties":{{"id":{{"type":"integer","minimum":0}},"unit":{{"type":"string","enum":["c","f"]}}}},"required":["id"],"additionalProperties":false}}}}}}"#,
            if index == 0 { "" } else { "," }
        );
        index += 1;
    }
    body.push_str("]}");
    body.into_bytes()
}

/// An array of `count` scattered numbers.
fn numbers(count: u32, text: impl Fn(u32) -> String) -> Vec<u8> {
    let list: Vec<String> = (0..count).map(|n| text(n.wrapping_mul(2_654_435_761))).collect();
    format!("{{\"model\":\"text-embedding-3-small\",\"input\":[{}]}}", list.join(",")).into_bytes()
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json_scan");
    let bodies = [
        ("chat_1k", chat(1 << 10, 2, PROSE)),
        ("chat_16k_11_messages", chat(16 << 10, 11, PROSE)),
        ("chat_16k_markdown", chat(16 << 10, 11, MARKDOWN)),
        ("chat_16k_chinese", chat(16 << 10, 11, CHINESE)),
        ("tools_16k", tools(16 << 10)),
        ("token_ids_16k", numbers(2_600, |n| (n % 100_256).to_string())),
        ("embedding_1536", numbers(1_536, |n| format!("{:.8}", f64::from(n) / f64::from(u32::MAX) - 0.5))),
    ];
    for (name, body) in &bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new(*name, body.len()), |b| {
            b.iter(|| scan_object(black_box(body), black_box(&WANTED)).map(|scan| scan.keys));
        });
    }
    let (_, body) = &bodies[1];
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("each_message_16k", |b| {
        let messages = scan_object(body, &["messages"]).ok().and_then(|scan| scan.fields[0]);
        b.iter(|| {
            messages.map(|array| {
                elements(body, array)
                    .filter_map(|message| scan_value_object(body, message, &["role", "content"]).ok())
                    .filter(|message| message.fields[1].is_some())
                    .count()
            })
        });
    });
    group.finish();
}

/// An event as OpenAI sends it, 215 bytes long.
fn event() -> String {
    let mut event = String::from(
        r#"data: {"id":"chatcmpl-9z8y7x6w5v4u3t2s1r0q","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]"#,
    );
    while event.len() < 212 {
        event.push(' ');
    }
    event.push_str("}\n\n");
    event
}

fn sse(c: &mut Criterion) {
    let mut group = c.benchmark_group("sse");
    let event = event();
    let stream = Bytes::from(event.repeat(64));
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for (name, size) in [("one_chunk", stream.len()), ("event_per_chunk", event.len()), ("split_events", 300)] {
        group.bench_function(name, |b| {
            let mut framer = Framer::new(1 << 20);
            b.iter(|| {
                let mut rest = stream.clone();
                let mut events = 0;
                while !rest.is_empty() {
                    let chunk = rest.split_to(size.min(rest.len()));
                    events += framer.push(chunk).map_or(0, |batch| batch.ends.len());
                }
                black_box(events)
            });
        });
    }
    group.throughput(Throughput::Bytes(event.len() as u64));
    group.bench_function("data", |b| b.iter(|| data(black_box(event.as_bytes())).len()));
    group.finish();
}

fn limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    group.bench_function("take_same_slot", |b| {
        let mut window = Window::new(u64::MAX / 2, 60_000_000_000);
        b.iter(|| window.try_take(black_box(1_000_000_000_000), 1).is_ok());
    });
    group.bench_function("take_1000_per_second", |b| {
        let mut window = Window::new(1 << 40, 60_000_000_000);
        let mut now = 0;
        b.iter(|| {
            now += 1_000_000;
            window.try_take(black_box(now), 1).is_ok()
        });
    });
    group.bench_function("take_every_slot", |b| {
        let mut window = Window::new(1 << 40, 60_000_000_000);
        let mut now = 0;
        b.iter(|| {
            now += 1_000_000_001;
            window.try_take(black_box(now), 1).is_ok()
        });
    });
    group.bench_function("take_after_idle", |b| {
        let mut window = Window::new(1 << 40, 60_000_000_000);
        let mut now = 0;
        b.iter(|| {
            now += 50_000_000_000;
            window.try_take(black_box(now), 1).is_ok()
        });
    });
    group.bench_function("refuse", |b| {
        let mut window = Window::new(100, 60_000_000_000);
        for now in 0..100 {
            let _ = window.try_take(now * 590_000_000, 1);
        }
        b.iter(|| window.try_take(black_box(59_000_000_000), 1).is_err());
    });
    group.bench_function("take_and_refund", |b| {
        let mut window = Window::new(1 << 40, 60_000_000_000);
        b.iter(|| {
            if let Ok(grant) = window.try_take(black_box(7_000_000_000), 9) {
                window.refund(grant.slot, 9);
            }
        });
    });
    group.finish();

    let mut group = c.benchmark_group("retry_budget");
    let budget = RetryBudget::new(20, 10);
    group.bench_function("deposit", |b| b.iter(|| budget.deposit(black_box(5_000_000_000))));
    group.bench_function("withdraw", |b| b.iter(|| budget.withdraw(black_box(5_000_000_000))));
    group.finish();
}

fn others(c: &mut Criterion) {
    let price = Price::new(&Listed {
        rates: Rates {
            input: Some(150_000_000_000),
            output: Some(600_000_000_000),
            cache_read: Some(75_000_000_000),
            ..Rates::default()
        },
        ..Listed::default()
    });
    let usage = Usage { input: 812, output: 377, cache_read: 1_024, ..Usage::default() };
    c.bench_function("cost", |b| b.iter(|| cost(black_box(&price), black_box(&usage))));

    let models: Vec<String> = (0..500).map(|n| format!("provider-{}/model-{n}-instruct", n % 7)).collect();
    c.bench_function("nearest_500", |b| {
        b.iter(|| nearest(black_box("provider-3/modle-451-instruct"), models.iter().map(String::as_str)));
    });

    let mut group = c.benchmark_group("multipart");
    let audio = vec![0x5a_u8; 1 << 20];
    let head = "--x1y2z3\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x1y2z3\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
    let form = [head.as_bytes(), &audio, b"\r\n--x1y2z3--\r\n"].concat();
    group.throughput(Throughput::Bytes(form.len() as u64));
    group.bench_function("audio_1m", |b| b.iter(|| parts(black_box(&form), "x1y2z3").map(|parts| parts.len())));
    group.finish();
}

/// A router of 10,000 prompts with random vectors, as `ailink router train --kind knn` writes it.
fn neighbours() -> Option<Router> {
    let header = concat!(
        r#"{"name":"b","version":"1","kind":"knn","features":1,"models":["a","b","c"],"costs":[1,2,3],"#,
        r#""margin":0.1,"k":16,"vectors":10000}"#
    );
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = b"AILROUTE".to_vec();
    file.extend(1u32.to_le_bytes());
    file.extend(u32::try_from(header.len()).ok()?.to_le_bytes());
    file.extend(header.as_bytes());
    file.extend((0..10_000 * (256 + 3)).map(|_| random.u8(..=250)));
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &file));
    file.extend_from_slice(&digest);
    Router::read(&file).ok()
}

/// The bars: 50 µs for the decision by rules on 1 KiB, 150 µs for 10,000 neighbours.
fn routing(c: &mut Criterion) {
    let text = "Explain how a queue with priorities differs from one without, and prove it. ".repeat(13);
    let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    c.bench_function("auto_rules_1k", |b| {
        b.iter(|| complexity(&features(&prompt::read(black_box(body.as_bytes()))).dense));
    });
    let Some(router) = neighbours() else { return };
    let found = features(&prompt::read(body.as_bytes()));
    c.bench_function("knn_10000", |b| b.iter(|| router.estimates(black_box(&found), &mut || 0.5)));
}

criterion_group! {
    name = kernels;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = json, sse, limits, others, routing
}
criterion_main!(kernels);
