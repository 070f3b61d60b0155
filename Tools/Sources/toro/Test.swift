import ArgumentParser
import Foundation
import Launcher

struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs every test: style, units on the host, then guests that are booted.",
        discussion: "Fails when QEMU is missing: a guest test is never skipped.")

    @Flag(help: "Puts bugs into a copy of the sources, one by one: the fuzzers must find each.")
    var planted = false

    @Option(
        name: .shortAndLong, help: "How the guests that are booted are built: debug or release.")
    var configuration = BuildConfiguration.debug

    @Argument(help: "Runs only the tests whose names match this regular expression.")
    var filter: String?

    func run() throws {
        try Toro.reporting {
            if planted { return try plantBugs() }
            _ = try Machine.qemu()
            guard let swift = Command.find("swift") else {
                throw LaunchError.missing("swift is not in PATH")
            }
            let reports = try ReportFolder()
            defer { reports.remove() }
            var failed: [String] = []
            // Without it LinuxPeerTests fail, and say so.
            _ = try Command.passThrough(Toro.root + "/Tests/LinuxPeer/fetch", [])
            if filter == nil, try lint(swift) != 0 { failed.append("style") }
            for part in TestPart.all where filter == nil || part.takesFilters {
                var arguments = [
                    // What is lost at exit is the test runner's.
                    "ASAN_OPTIONS=detect_leaks=0", "TORO_TEST_CONFIGURATION=\(configuration)",
                    swift, "test", "--package-path", Toro.root + part.folder,
                    "--disable-build-manifest-caching",
                ]
                if part.isSanitized {
                    let scratch = Toro.root + part.folder + "/.build/sanitized"
                    arguments += ["--sanitize=address", "--scratch-path", scratch]
                }
                if let filter {
                    let report = reports.path + "/" + part.name
                    arguments += ["--filter", filter, "--xunit-output", report]
                } else {
                    arguments += part.selection
                }
                if try Command.passThrough("/usr/bin/env", arguments) != 0 {
                    failed.append(part.name)
                }
            }
            if failed.isEmpty {
                // SwiftPM is content with having run nothing.
                if let filter, try reports.testCount() == 0 {
                    throw LaunchError.usage("no test matches \(filter)")
                }
                return 0
            }
            // What failed first is far above in the output by now.
            Toro.say("failed: \(failed.joined(separator: ", "))")
            return 1
        }
    }

    /// Plants bugs whose names hold the filter; 1 if a fuzzer missed one.
    private func plantBugs() throws -> Int32 {
        let planted = try PlantedBugs(root: Toro.root)
        var failed = 0
        for bug in planted.bugs where filter.map({ bug.name.contains($0) }) ?? true {
            let outcome = try planted.plant(bug)
            if outcome != .found { failed += 1 }
            let line =
                switch outcome {
                case .found: "found: \(bug.name)\n"
                case .missed: "MISSED by \(bug.test): \(bug.name)\n"
                case .untested(let reason): "NOT TESTED: \(bug.name): \(reason)\n"
                }
            FileHandle.standardOutput.write(Data(line.utf8))
        }
        return failed == 0 ? 0 : 1
    }

    /// Holds every Swift file to the checked-in configuration; 0 if they keep to it.
    private func lint(_ swift: String) throws -> Int32 {
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
        return try Command.passThrough(swift, arguments)
    }
}

/// What is tested by one call of `swift test`.
private struct TestPart {
    let name: String
    /// The package's folder, below the root of Toro.
    var folder = ""
    /// Whether no access out of bounds passes: for what reads hostile bytes through pointers.
    var isSanitized = false
    /// What of the package is tested when nobody asks for anything.
    var selection: [String] = []
    /// Whether it is run with a filter, too: another part runs the same tests otherwise.
    var takesFilters = true

    static let all = [
        TestPart(name: "units", isSanitized: true),
        TestPart(name: "template", folder: "/Samples/Template"),
        TestPart(
            name: "device", folder: "/Tools", isSanitized: true,
            selection: ["--filter", "VsockDeviceTests"], takesFilters: false),
        TestPart(name: "guests", folder: "/Tools", selection: ["--skip", "VsockDeviceTests"]),
    ]
}

/// A folder for the reports of one run of the tests.
private struct ReportFolder {
    let path = NSTemporaryDirectory() + "toro-reports-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }

    /// How many tests were run, from the `tests` of each suite's report.
    func testCount() throws -> Int {
        var count = 0
        for name in try FileManager.default.contentsOfDirectory(atPath: path) {
            let report = try String(contentsOfFile: path + "/" + name, encoding: .utf8)
            for suite in report.components(separatedBy: "<testsuite ").dropFirst() {
                let rest = suite.components(separatedBy: " tests=\"").dropFirst().first ?? ""
                count += Int(rest.prefix { $0 != "\"" }) ?? 0
            }
        }
        return count
    }
}
