fn main() {
    hosts::begin();
    hosts::check(hosts::all());
    println!("well");
}
