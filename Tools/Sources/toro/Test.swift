import ArgumentParser
import Foundation
import Launcher

struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs every test: style, units on the host, then guests that are booted.",
        discussion: "Fails when QEMU is missing: a guest test is never skipped.")

    @Argument(help: "Runs only the tests whose names hold this.") var filter: String?

    func run() throws {
        try Toro.reporting {
            _ = try Machine.qemu()
            guard let swift = Command.find("swift") else {
                throw LaunchError.missing("swift is not in PATH")
            }
            var failed = filter == nil ? try lint(swift) : 0
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

    /// Holds every Swift file to the checked-in configuration; the number of failures.
    private func lint(_ swift: String) throws -> Int {
        var arguments = ["format", "lint", "--strict", "--parallel"]
        for folder in ["Benchmarks", "Modules", "Platform", "Samples", "Tests", "Tools"] {
            let base = Toro.root + "/" + folder
            let files = FileManager.default.enumerator(atPath: base)
            while let path = files?.nextObject() as? String {
                // Build folders hold other people's sources.
                if path.hasSuffix(".build") { files?.skipDescendants() }
                if path.hasSuffix(".swift") { arguments.append(base + "/" + path) }
            }
        }
        return try Command.passThrough(swift, arguments) == 0 ? 0 : 1
    }
}
