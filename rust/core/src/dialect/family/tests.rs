use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;

fn asked(asked: Operation, by: Operation, model: &str, body: Value) -> Result<(Value, Vec<String>), Fault> {
    let request = request(Pair { asked, by, model }, body.to_string().as_bytes())?;
    let dropped = request.dropped.iter().map(ToString::to_string).collect();
    Ok((serde_json::from_slice(&request.body).expect("JSON"), dropped))
}

fn answered(asked: Operation, by: Operation, model: &str, request: Value, body: Value) -> (Value, Option<Usage>) {
    let recall = Recall {
        asked,
        by,
        model: model.to_string(),
        named: "m".to_string(),
        id: "id".to_string(),
        request: Bytes::from(request.to_string()),
        recording: Length::default(),
        reading: None,
        input: 7,
    };
    let (out, usage) = answer(&recall, &HeaderMap::new(), body.to_string().as_bytes()).expect("an answer");
    (serde_json::from_slice(&out).expect("JSON"), usage)
}

#[test]
fn a_deployment_is_asked_what_it_serves() {
    let by = |asked, model: &str, serves: &[Operation]| substitute(asked, model, |by| serves.contains(&by));
    let gemini = [Op::EmbedContent, Op::BatchEmbedContents, Op::GenerateContent];
    assert_eq!(by(Op::Embeddings, "gemini-embedding-001", &gemini), Some(Op::BatchEmbedContents));
    assert_eq!(by(Op::EmbedContent, "text-embedding-3-small", &[Op::Embeddings]), Some(Op::Embeddings));
    assert_eq!(by(Op::Embeddings, "amazon.titan-embed-text-v2:0", &[Op::Invoke]), Some(Op::Invoke));
    assert_eq!(by(Op::Embeddings, "anthropic.claude-3", &[Op::Invoke]), None);
    assert_eq!(by(Op::Rerank, "rerank-2.5", &[Op::VoyageRerank]), Some(Op::VoyageRerank));
    assert_eq!(by(Op::Chat, "m", &[Op::Embeddings]), None);
}

#[test]
fn openai_asks_everybody_for_embeddings() {
    let body = json!({"model": "m", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64",
        "input_type": "query", "user": "u"});
    let ask = |by, model| asked(Op::Embeddings, by, model, body.clone()).expect("a request");
    let one = |text| {
        json!({"content": {"parts": [{"text": text}]}, "model": "models/g", "outputDimensionality": 256,
        "taskType": "RETRIEVAL_QUERY"})
    };
    assert_eq!(ask(Op::BatchEmbedContents, "g"), (json!({"requests": [one("a"), one("b")]}), vec!["user".to_string()]));
    let cohere = json!({"model": "c", "texts": ["a", "b"], "input_type": "search_query",
        "embedding_types": ["float"], "output_dimension": 256});
    assert_eq!(ask(Op::CohereEmbed, "c").0, cohere);
    let amazon = json!({"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 256});
    assert_eq!(ask(Op::Invoke, "cohere.embed-v4:0").0, amazon);
    let vertex = json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"},
        {"content": "b", "task_type": "RETRIEVAL_QUERY"}], "parameters": {"outputDimensionality": 256}});
    assert_eq!(ask(Op::Predict, "text-embedding-005").0, vertex);
    let titan = asked(Op::Embeddings, Op::Invoke, "amazon.titan-embed-text-v2:0", body.clone());
    assert!(matches!(titan, Err(Fault::Unsupported { parameter: "input", .. })), "{titan:?}");
    let single = json!({"input": "a", "dimensions": 256, "input_type": "query"});
    let (titan, dropped) =
        asked(Op::Embeddings, Op::Invoke, "amazon.titan-embed-text-v2:0", single).expect("a request");
    assert_eq!((titan, dropped), (json!({"inputText": "a", "dimensions": 256}), vec!["input_type".to_string()]));
}

#[test]
fn google_and_cohere_ask_others_for_embeddings() {
    let content = |text: &str| json!({"parts": [{"text": text}, {"text": "end"}]});
    let body = json!({"content": content("a"), "taskType": "CLUSTERING", "outputDimensionality": 8, "title": "t"});
    let (openai, dropped) = asked(Op::EmbedContent, Op::Embeddings, "e", body).expect("a request");
    assert_eq!(openai, json!({"model": "e", "input": ["a\nend"], "dimensions": 8}));
    assert_eq!(dropped, ["input_type", "title"]);
    let body = json!({"requests": [{"model": "models/e", "content": content("a")}, {"content": content("b")}]});
    let (openai, _) = asked(Op::BatchEmbedContents, Op::Embeddings, "e", body).expect("a request");
    assert_eq!(openai["input"], json!(["a\nend", "b\nend"]));
    let body = json!({"model": "m", "texts": ["a"], "input_type": "classification", "embedding_types": ["float"]});
    let (google, _) = asked(Op::CohereEmbed, Op::BatchEmbedContents, "g", body).expect("a request");
    assert_eq!(google["requests"][0]["taskType"], "CLASSIFICATION");
    let body = json!({"model": "m", "texts": ["a"], "embedding_types": ["int8"]});
    let fault = asked(Op::CohereEmbed, Op::Embeddings, "g", body).expect_err("a refusal");
    assert!(matches!(fault, Fault::Unsupported { parameter: "embedding_types", .. }));
}

#[test]
fn what_is_no_request_is_told() {
    for (body, path) in [
        (json!({"input": 5}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [{"x": 1}]}), "input[0]"),
        (json!({"input": "a", "dimensions": "many"}), "dimensions"),
        (json!({"input": "a", "input_type": "whatever"}), "input_type"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
    ] {
        match asked(Op::Embeddings, Op::BatchEmbedContents, "g", body.clone()) {
            Err(Fault::Invalid { path: found, .. }) => assert_eq!(found, path, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let tokens = asked(Op::Embeddings, Op::CohereEmbed, "g", json!({"input": [1, 2, 3]}));
    assert!(matches!(tokens, Err(Fault::Unsupported { what: "texts as tokens", .. })));
}

#[test]
fn vectors_come_back_in_the_callers_shape() {
    let google = json!({"embeddings": [{"values": [0.5, -1.0]}, {"values": [1.5, 2.0]}]});
    let (openai, usage) =
        answered(Op::Embeddings, Op::BatchEmbedContents, "g", json!({"input": ["a", "b"]}), google.clone());
    assert_eq!(openai["data"][1], json!({"object": "embedding", "index": 1, "embedding": [1.5, 2.0]}));
    assert_eq!((openai["usage"]["prompt_tokens"].as_u64(), usage), (Some(7), None));
    let packed = json!({"input": ["a", "b"], "encoding_format": "base64"});
    let (openai, _) = answered(Op::Embeddings, Op::BatchEmbedContents, "g", packed, google);
    assert_eq!(openai["data"][0]["embedding"], "AAAAPwAAgL8=");
    let there = json!({"object": "list", "data": [{"index": 0, "embedding": "AAAAPwAAgL8="}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    let (google, usage) = answered(Op::EmbedContent, Op::Embeddings, "e", json!({}), there);
    assert_eq!(google, json!({"embedding": {"values": [0.5, -1]}, "usageMetadata": {"promptTokenCount": 3}}));
    assert_eq!(usage.map(|usage| usage.input), Some(3));
    let there = json!({"id": "x", "embeddings": {"float": [[0.5]], "int8": [[4]]}, "texts": ["a"],
        "meta": {"billed_units": {"input_tokens": 2}}});
    let (cohere, usage) =
        answered(Op::CohereEmbed, Op::Invoke, "cohere.embed-v4:0", json!({"texts": ["a"]}), there.clone());
    assert_eq!(cohere["embeddings"], json!({"float": [[0.5]], "int8": [[4]]}));
    assert_eq!((cohere["texts"].clone(), usage.map(|usage| usage.input)), (json!(["a"]), Some(2)));
    let (openai, _) = answered(Op::Embeddings, Op::CohereEmbed, "c", json!({"input": "a"}), there);
    assert_eq!(openai["data"][0]["embedding"], json!([0.5]));
    let old = json!({"embeddings": [[0.25]]});
    let (openai, _) = answered(Op::Embeddings, Op::Invoke, "cohere.embed-english-v3", json!({"input": "a"}), old);
    assert_eq!(openai["data"][0]["embedding"], json!([0.25]));
    let titan = json!({"embedding": [0.125], "inputTextTokenCount": 4});
    let (openai, usage) =
        answered(Op::Embeddings, Op::Invoke, "amazon.titan-embed-text-v2:0", json!({"input": "a"}), titan);
    assert_eq!((openai["data"][0]["embedding"].clone(), usage.map(|u| u.input)), (json!([0.125]), Some(4)));
    let vertex = json!({"predictions": [{"embeddings": {"values": [1.0], "statistics": {"token_count": 6}}}]});
    let (openai, usage) = answered(Op::Embeddings, Op::Predict, "text-embedding-005", json!({"input": "a"}), vertex);
    assert_eq!((openai["data"][0]["embedding"].clone(), usage.map(|u| u.input)), (json!([1.0]), Some(6)));
}

#[test]
fn broken_answers_are_told() {
    let recall = Recall {
        asked: Op::Embeddings,
        by: Op::BatchEmbedContents,
        model: "g".to_string(),
        named: "m".to_string(),
        id: "id".to_string(),
        request: Bytes::from_static(b"{}"),
        recording: Length::default(),
        reading: None,
        input: 0,
    };
    for body in ["", "{}", "[]", r#"{"embeddings":[]}"#, r#"{"embeddings":[{"values":"%%"}]}"#] {
        assert!(matches!(answer(&recall, &HeaderMap::new(), body.as_bytes()), Err(Fault::Invalid { .. })), "{body}");
    }
}

#[test]
fn reranking_is_asked_in_every_shape() {
    let body = json!({"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1,
        "return_documents": true, "rank_fields": ["x"]});
    let ask = |by, model| asked(Op::Rerank, by, model, body.clone()).expect("a request");
    let dropped = vec!["rank_fields".to_string()];
    assert_eq!(
        ask(Op::VoyageRerank, "v"),
        (json!({"model": "v", "query": "q", "documents": ["a", "b"], "top_k": 1}), dropped.clone())
    );
    assert_eq!(ask(Op::TeiRerank, "t").0, json!({"query": "q", "texts": ["a", "b"]}));
    let nim = json!({"model": "n", "query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}]});
    assert_eq!(ask(Op::NimRanking, "n").0, nim);
    let amazon = json!({"query": "q", "documents": ["a", "b"], "top_n": 1, "api_version": 2});
    assert_eq!(ask(Op::Invoke, "cohere.rerank-v3-5:0").0, amazon);
    let wrong = asked(Op::Rerank, Op::VoyageRerank, "v", json!({"query": "q", "documents": [{"title": "t"}]}));
    assert!(matches!(wrong, Err(Fault::Invalid { .. })));
}

#[test]
fn rankings_come_back_in_coheres_shape() {
    let request = json!({"query": "q", "documents": ["a", "b"], "top_n": 1, "return_documents": true});
    let first = json!({"index": 1, "relevance_score": 0.9, "document": {"text": "b"}});
    for (by, there, usage) in [
        (
            Op::VoyageRerank,
            json!({"object": "list", "data": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 5}}),
            Some(5),
        ),
        (Op::TeiRerank, json!([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]), None),
        (Op::NimRanking, json!({"rankings": [{"index": 1, "logit": 0.9}, {"index": 0, "logit": -2.5}]}), None),
        (Op::Invoke, json!({"results": [{"index": 1, "relevance_score": 0.9}]}), None),
    ] {
        let (told, found) = answered(Op::Rerank, by, "x.rerank", request.clone(), there);
        assert_eq!(told["results"], json!([first]));
        assert_eq!(found.map(|usage| usage.input), usage);
    }
}

#[test]
fn searches_are_what_cohere_is_paid_for() {
    let usage = rerank_usage(br#"{"results":[],"meta":{"billed_units":{"search_units":2}}}"#).expect("usage");
    assert_eq!((usage.searches, usage.input), (2, 0));
    assert_eq!(rerank_usage(br#"{"results":[]}"#), None);
}
