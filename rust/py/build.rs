//! Tells the extension which cargo profile built it, so that a debug build can refuse to be measured.

fn main() {
    let profile = std::env::var("OUT_DIR")
        .ok()
        .and_then(|out| {
            // …/target/<profile directory>/build/ailink-py-<hash>/out
            std::path::Path::new(&out).ancestors().nth(3)?.file_name()?.to_str().map(str::to_string)
        })
        .unwrap_or_else(|| "unknown".to_string());
    println!("cargo:rustc-env=AILINK_BUILD_PROFILE={profile}");
    println!("cargo:rerun-if-changed=build.rs");
}
