import ArgumentParser
import Foundation
import Launcher

struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs every test: units on the host, then guests that are booted.",
        discussion: "Fails when QEMU is missing: a guest test is never skipped.")

    @Argument(help: "Runs only the tests whose names hold this.") var filter: String?

    func run() throws {
        try Toro.reporting {
            _ = try Machine.qemu()
            guard let swift = Command.find("swift") else {
                throw LaunchError.missing("swift is not in PATH")
            }
            var failed = 0
            for folder in ["", "/Samples/Template", "/Tools"].map({ Toro.root + $0 }) {
                var arguments = [
                    "test", "--package-path", folder, "--disable-build-manifest-caching",
                ]
                if let filter { arguments += ["--filter", filter] }
                let status = try Command.passThrough(swift, arguments)
                if status != 0 { failed += 1 }
            }
            return failed == 0 ? 0 : 1
        }
    }
}
