//! Gives back what it is given.

use exports::bench::echo::trips::Guest as Trips;

wit_bindgen::generate!({ path: "wit", world: "echo" });

struct Plugin;

impl Trips for Plugin {
    fn echo_words(data: Vec<u64>) -> Vec<u64> {
        data
    }

    fn echo_octets(data: Vec<u8>) -> Vec<u8> {
        data
    }

    fn echo_text(data: String) -> String {
        data
    }
}

export!(Plugin);
