//! Everything that a program may do, by all methods.

fn main() {
    hosts::begin();
    hosts::check(hosts::all());
    println!("well");
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_a_unit_test_of_a_program() {
        hosts::check(hosts::in_threads());
    }
}
