//! Static embeddings in the layout of model2vec: a text is the mean of its tokens' vectors. No weights come with AILink;
//! an operator gives a directory with `model.safetensors` and `tokenizer.json` (and `config.json`, if there is one).
//!
//! <https://github.com/MinishLab/model2vec> describes the layout: `embeddings` has a row for every token (or for every
//! cluster of tokens, `mapping` says which), `weights` how much each token counts.

mod tensors;
mod wordpiece;

use std::path::Path;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tensors::Tensors;
use wordpiece::WordPiece;

/// Most tokens of a text that count.
const TOKENS: usize = 512;
/// Largest file that is read.
const FILE: u64 = 4 << 30;

#[derive(Debug)]
pub struct StaticModel {
    tokenizer: WordPiece,
    rows: Vec<f32>,
    dimensions: usize,
    /// The row of a token, where tokens share rows.
    mapping: Option<Vec<usize>>,
    weights: Option<Vec<f32>>,
    normalize: bool,
    /// Of its files: models with another one make other vectors.
    pub print: [u8; 32],
}

impl StaticModel {
    /// Reads a directory.
    ///
    /// # Errors
    /// Which file is missing or not understood, and why.
    pub fn open(directory: &Path) -> Result<StaticModel, String> {
        let mut print = Sha256::new();
        let tokenizer = file(directory, "tokenizer.json")?;
        print.update(&tokenizer);
        let tokenizer = WordPiece::parse(&tokenizer)
            .map_err(|error| format!("{}: {error}", directory.join("tokenizer.json").display()))?;
        let bytes = file(directory, "model.safetensors")?;
        let tensors = Tensors::parse(&bytes).and_then(|tensors| StaticModel::assemble(tokenizer, &tensors));
        let mut model =
            tensors.map_err(|error| format!("{}: {error}", directory.join("model.safetensors").display()))?;
        print.update(&bytes);
        if let Ok(config) = file(directory, "config.json") {
            print.update(&config);
            let config: Json = serde_json::from_slice(&config)
                .map_err(|error| format!("{}: {error}", directory.join("config.json").display()))?;
            model.normalize = config.get("normalize").and_then(Json::as_bool).unwrap_or(true);
        }
        model.print = print.finalize().into();
        Ok(model)
    }

    fn assemble(tokenizer: WordPiece, tensors: &Tensors) -> Result<StaticModel, String> {
        let (shape, rows) = tensors.floats("embeddings")?.ok_or("there is no tensor `embeddings`")?;
        let [count, dimensions] = shape[..] else {
            return Err(format!("`embeddings` has {} dimensions instead of 2", shape.len()));
        };
        if dimensions == 0 || dimensions > crate::kernel::vector::DIMENSIONS {
            return Err(format!("`embeddings` has rows of {dimensions} numbers"));
        }
        let mapping = tensors.integers("mapping")?;
        let weights = tensors.floats("weights")?.map(|(_, weights)| weights);
        let tokens = mapping.as_ref().map_or(count, Vec::len);
        if tokenizer.tokens() > tokens {
            return Err(format!("{tokens} tokens have vectors, but the tokenizer knows {}", tokenizer.tokens()));
        }
        if mapping.iter().flatten().any(|row| *row >= count) || weights.as_ref().is_some_and(|all| all.len() < tokens) {
            return Err("`mapping` or `weights` do not fit `embeddings`".to_string());
        }
        Ok(StaticModel { tokenizer, rows, dimensions, mapping, weights, normalize: true, print: [0; 32] })
    }

    /// The vector of a text; zeros for one without a known token.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let tokens = self.tokenizer.encode(text, TOKENS);
        let mut sum = vec![0.0f32; self.dimensions];
        for token in &tokens {
            let token = *token as usize;
            let row = self.mapping.as_ref().map_or(token, |mapping| mapping[token]);
            let weight = self.weights.as_ref().map_or(1.0, |weights| weights[token]);
            let row = &self.rows[row * self.dimensions..][..self.dimensions];
            sum.iter_mut().zip(row).for_each(|(to, value)| *to += value * weight);
        }
        let mut scale = tokens.len().max(1) as f32;
        if self.normalize {
            scale = sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-32);
        }
        sum.iter_mut().for_each(|value| *value /= scale);
        sum
    }
}

fn file(directory: &Path, name: &str) -> Result<Vec<u8>, String> {
    let path = directory.join(name);
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(&path).map_err(told)?.len() > FILE {
        return Err(format!("{}: larger than {FILE} bytes", path.display()));
    }
    std::fs::read(&path).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with three words of two numbers each.
    fn write(directory: &Path, tensors: &[(&str, &str, &[usize], Vec<u8>)], config: Option<&str>) {
        let mut head = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, kind, shape, bytes) in tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            head.insert(
                (*name).to_string(),
                serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": offsets}),
            );
            data.extend_from_slice(bytes);
        }
        let head = serde_json::to_vec(&head).expect("JSON");
        let file = [&(head.len() as u64).to_le_bytes()[..], &head, &data].concat();
        std::fs::write(directory.join("model.safetensors"), file).expect("written");
        let tokenizer = serde_json::json!({
            "normalizer": {"type": "BertNormalizer", "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "vocab": {"[UNK]": 0, "cat": 1, "dog": 2, "##s": 3}},
        });
        std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).expect("written");
        if let Some(config) = config {
            std::fs::write(directory.join("config.json"), config).expect("written");
        }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_text_is_the_mean_of_its_tokens() {
        let directory = tempfile::tempdir().expect("a directory");
        let rows = floats(&[9.0, 9.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
        write(directory.path(), &[("embeddings", "F32", &[4, 2], rows)], None);
        let model = StaticModel::open(directory.path()).expect("opens");
        assert_eq!((model.dimensions, model.embed("Cat")), (2, vec![1.0, 0.0]));
        assert_eq!(model.embed("dogs, cats!"), vec![0.6, 0.8]);
        assert_eq!(model.embed("unknown"), vec![0.0, 0.0]);
    }

    #[test]
    fn tokens_may_share_rows_and_have_weights() {
        let directory = tempfile::tempdir().expect("a directory");
        // In half precision: 1, 0, 0, 2.
        let rows = [0x3c00u16, 0, 0, 0x4000].iter().flat_map(|value| value.to_le_bytes()).collect();
        let mapping = [0i64, 0, 1, 1].iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensors: [(&str, &str, &[usize], Vec<u8>); 3] = [
            ("embeddings", "F16", &[2, 2], rows),
            ("mapping", "I64", &[4], mapping),
            ("weights", "F32", &[4], floats(&[0.0, 2.0, 1.0, 0.0])),
        ];
        write(directory.path(), &tensors, Some(r#"{"normalize": false}"#));
        let model = StaticModel::open(directory.path()).expect("opens");
        assert_eq!(model.embed("cat dog"), vec![1.0, 1.0]);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let told = |directory: &Path| StaticModel::open(directory).expect_err("wrong");
        assert!(told(directory.path()).contains("tokenizer.json"));
        write(directory.path(), &[("embeddings", "F32", &[1, 2], floats(&[1.0, 1.0]))], None);
        assert!(told(directory.path()).ends_with("1 tokens have vectors, but the tokenizer knows 4"));
        write(directory.path(), &[("other", "F32", &[1], floats(&[1.0]))], None);
        assert!(told(directory.path()).ends_with("there is no tensor `embeddings`"));
        write(directory.path(), &[("embeddings", "F32", &[4, 2], floats(&[1.0]))], None);
        assert!(told(directory.path()).contains("model.safetensors: "));
        std::fs::write(directory.path().join("model.safetensors"), b"short").expect("written");
        assert!(told(directory.path()).contains("model.safetensors: "));
        std::fs::write(directory.path().join("tokenizer.json"), r#"{"model":{"type":"Unigram"}}"#).expect("written");
        assert!(told(directory.path()).contains("Unigram"));
    }
}
