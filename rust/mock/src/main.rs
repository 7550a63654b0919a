//! The `ailink-mock` command: everything is in the library, the binary only chooses the allocator.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    std::process::exit(ailink_mock::main_with(std::env::args().skip(1).collect()));
}
