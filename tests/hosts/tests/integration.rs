#[test]
fn in_an_integration_test() {
    hosts::check(hosts::in_threads());
}
