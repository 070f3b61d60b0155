import ArgumentParser
import Foundation
import Launcher

struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs every test: style, units on the host, then guests that are booted.",
        discussion: "Fails when QEMU is missing: a guest test is never skipped.")

    @Flag(help: "Puts bugs into a copy of the sources, one by one: the fuzzers must find each.")
    var planted = false

    @Flag(help: "Tests the guests with Debian 13's QEMU and virtiofsd, in a folder. Needs root.")
    var peers = false

    @Option(
        name: .shortAndLong,
        help: "How the guests that are booted are built: debug or release; without it, both.")
    var configuration: BuildConfiguration?

    @Argument(help: "Runs only the tests whose names match this regular expression.")
    var filter: String?

    func validate() throws {
        if planted, peers { throw ValidationError("--planted and --peers are different runs") }
    }

    func run() throws {
        try Toro.reporting {
            if planted { return try plantBugs() }
            let site = try peers ? TestSite.peers() : TestSite.here()
            let reports = try ReportFolder(in: site.root + "/.build")
            defer { reports.remove() }
            // SwiftPM leaves folders and locks there, and so may a test that is ended.
            let temporary = try TemporaryFolder()
            defer { temporary.remove() }
            // Tests start programs as other users, who have to reach them: it is as open as /tmp.
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o1777], ofItemAtPath: temporary.path)
            var failed: [String] = []
            if filter == nil, !peers, try lint(site) != 0 { failed.append("style") }
            for part in site.parts where isWanted(part) {
                var line = site.entrance + ["/usr/bin/env"] + arguments(part, site, reports)
                if site.entrance.isEmpty { line.insert("TMPDIR=" + temporary.path, at: 1) }
                if try Command.passThrough(line[0], Array(line.dropFirst())) != 0 {
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

    private func isWanted(_ part: TestPart) -> Bool {
        if filter != nil, !part.takesFilters { return false }
        guard let wanted = configuration, let own = part.configuration else { return true }
        return wanted == own
    }

    /// What `env` is told, to test a part.
    private func arguments(_ part: TestPart, _ site: TestSite, _ reports: ReportFolder) -> [String]
    {
        // Seeds and the like, which an entrance would keep out.
        let own = ProcessInfo.processInfo.environment
        var line = own.filter { $0.key.hasPrefix("TORO_") && $0.key != "TORO_ROOT" }
            .map { "\($0.key)=\($0.value)" }
        // A test that crashes fails at once: its report would take minutes, and SwiftPM would wait
        // for ever if it never came.
        line.append("SWIFT_BACKTRACE=" + (own["SWIFT_BACKTRACE"] ?? "enable=no"))
        // What is lost at exit is the test runner's.
        line.append("ASAN_OPTIONS=detect_leaks=0")
        if let configuration = part.configuration {
            line.append("TORO_TEST_CONFIGURATION=\(configuration)")
        }
        // SanitizerTests look whether it is.
        if part.isSanitized { line.append("TORO_SANITIZED=1") }
        let folder = site.root + part.folder
        line += [
            site.swift, "test", "--package-path", folder, "--disable-build-manifest-caching",
        ]
        if part.isSanitized {
            // What Swift inlines of C is checked only if that is said to the C compiler, too.
            line += [
                "--sanitize=address", "-Xcc", "-fsanitize=address",
                "--scratch-path", folder + "/.build/sanitized",
            ]
        }
        if let filter {
            return line + ["--filter", filter, "--xunit-output", reports.path + "/" + part.name]
        }
        return line + part.selection
    }

    /// Plants bugs whose names hold the filter; 1 if a fuzzer missed one.
    private func plantBugs() throws -> Int32 {
        let planted = try PlantedBugs(root: try Toro.root)
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
    private func lint(_ site: TestSite) throws -> Int32 {
        var arguments = ["format", "lint", "--strict", "--parallel"]
        for folder in ["Benchmarks", "Modules", "Platform", "Samples", "Tests", "Tools"] {
            let base = site.root + "/" + folder
            let files = FileManager.default.enumerator(atPath: base)
            while let path = files?.nextObject() as? String {
                // Build folders hold other people's sources.
                if path.hasSuffix(".build") { files?.skipDescendants() }
                if path.hasSuffix(".swift") { arguments.append(base + "/" + path) }
            }
        }
        return try Command.passThrough(site.swift, arguments)
    }
}

/// What is tested by one call of `swift test`.
struct TestPart {
    let name: String
    /// The package's folder, below the root of Toro.
    var folder = ""
    /// Whether no access out of bounds passes: for what reads hostile bytes through pointers.
    var isSanitized = false
    /// How the guests that it boots are built; nil if it boots none.
    var configuration: BuildConfiguration?
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
        TestPart(
            name: "guests", folder: "/Tools", configuration: .debug,
            selection: ["--skip", "VsockDeviceTests"]),
        // What the guest itself does; the launcher's part in it does not know how it was built.
        TestPart(
            name: "release guests", folder: "/Tools", configuration: .release,
            selection: [
                "--filter",
                "GuestTests.(Probe|WebServer|BadClient|ScarceMemory|Share)Tests",
            ]),
    ]
}

/// A folder for the reports of one run of the tests.
private struct ReportFolder {
    let path: String

    init(in folder: String) throws {
        path = folder + "/toro-reports-\(UUID().uuidString)"
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
