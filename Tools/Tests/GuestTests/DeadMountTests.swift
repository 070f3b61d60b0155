import Foundation
import LoadClient
import Testing
import ToroTesting

@testable import Launcher

/// Files of a file system that does not answer: whoever waits for it cannot be ended, not even by
/// SIGKILL, and `toro run` ends all the same.
@Suite(.serialized) struct DeadMountTests {
    /// A run for which a dead file system is mounted.
    private final class Site {
        let folder: TestFolder
        let run: ToroProcess
        private let mark: String
        private var server: Int32?

        /// Runs a guest with the share `path` of a mount that answers `answers` (see DeadMount).
        convenience init(answers: String, path: String) throws {
            let image = try Images.webProbe().path
            try self.init(answers: answers) {
                [image, "-v", "site=\($0)\(path)", "-p", "0:80"]
            }
        }

        /// Runs what the arguments name, given the mount's path.
        init(answers: String, _ arguments: (String) throws -> [String]) throws {
            folder = try TestFolder()
            mark = folder.path + "/mark"
            let mount = folder.path + "/mount"
            try FileManager.default.createDirectory(
                atPath: mount, withIntermediateDirectories: false)
            let program = try #require(Images.tool("DeadMount"), "DeadMount is not built")
            run = try ToroProcess(
                ["run"] + arguments(mount), prefix: [program, answers, mount, mark])
        }

        /// Whether the file system could be mounted. If not, that is a known issue of this host, which
        /// the test's result names.
        func isMounted() -> Bool {
            let limit = Date(timeIntervalSinceNow: Patience.seconds)
            while Date() < limit {
                if run.parts.contains(where: { $0.name == "DeadMount" }) { return true }
                if run.output.contains("no FUSE file system can be mounted") {
                    withKnownIssue("shares that die are not tested here") {
                        Issue.record("\(run.output)")
                    }
                    return false
                }
                usleep(10_000)
            }
            Issue.record("neither mounted nor refused: \(run.output)")
            return false
        }

        /// Waits until somebody waits for the file system.
        func waitUntilStuck() {
            let limit = Date(timeIntervalSinceNow: Patience.seconds)
            while FileManager.default.contents(atPath: mark)?.isEmpty != false, Date() < limit {
                usleep(10_000)
            }
            let asked = FileManager.default.contents(atPath: mark)?.isEmpty == false
            #expect(asked, "nobody asked the file system: \(run.output)")
            server = run.parts.first { $0.name == "DeadMount" }?.pid
        }

        /// Interrupts the run, and looks at who is left: those that wait, for as long as they do.
        func interrupt(stuck: String) throws {
            let parts = run.parts.filter { $0.name != "DeadMount" }
            run.signal(SIGINT)
            #expect(run.status() == 128 + SIGINT, "\(run.output)")
            // A guard stays with what it guards.
            let left = parts.filter { $0.name != "toro-guard" && isThere($0.pid) }
            #expect(left.count == 1, "\(left) of \(parts)")
            let pid = try #require(left.first).pid
            let output = run.output
            #expect(output.contains("\(stuck), process \(pid), cannot be ended"), "\(output)")
            try endServer()
            let limit = Date(timeIntervalSinceNow: Patience.seconds)
            while isThere(pid), Date() < limit { usleep(10_000) }
            #expect(!isThere(pid))
            #expect(try run.files.isEmpty)
        }

        /// Whether a thread of the process is left. Its first one may have ended.
        private func isThere(_ pid: Int32) -> Bool {
            let tasks = "/proc/\(pid)/task"
            let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
            return threads.contains { thread in
                let path = "\(tasks)/\(thread)/stat"
                let line = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ") Z"
                return !line.contains(") Z")
            }
        }

        private func endServer() throws { kill(try #require(server), SIGKILL) }

        deinit { if let server { kill(server, SIGKILL) } }
    }

    /// The mount dies when a file is asked for.
    @Test func aGuestIsEndedWhoseFilesDoNotCome() throws {
        let site = try Site(answers: "root", path: "")
        guard site.isMounted() else { return }
        #expect(site.run.waits(for: "ready: 127.0.0.1:"), "\(site.run.output)")
        let start = try #require(site.run.output.range(of: "ready: 127.0.0.1:")?.upperBound)
        let port = try #require(UInt16(site.run.output[start...].prefix { $0.isNumber }))
        let client = try ClientSocket(port: port)
        #expect(client.send("GET /dead HTTP/1.1\r\nHost: h\r\n\r\n"))
        site.waitUntilStuck()
        try site.interrupt(stuck: "virtiofsd (share site)")
    }

    /// The folder is asked for before anything is started: the mount's own root, or one below it.
    @Test(arguments: [("nothing", ""), ("root", "/dead")])
    func aFolderThatDoesNotAnswerHoldsNoSignalUp(_ example: (answers: String, path: String)) throws
    {
        let site = try Site(answers: example.answers, path: example.path)
        guard site.isMounted() else { return }
        site.waitUntilStuck()
        try site.interrupt(stuck: "a part of toro")
        #expect(site.run.output.contains("of the share site does not answer"))
    }

    /// So are a package's folder, an image, and what stands beside them.
    @Test(arguments: ["image", "environment", "package", "watched package"])
    func aFileThatDoesNotAnswerHoldsNoSignalUp(_ example: String) throws {
        let image = try Images.webProbe().path
        let site = try Site(answers: "root") { mount in
            switch example {
            case "image": [mount + "/dead"]
            case "environment": [image, "--env-file", mount + "/dead"]
            case "package": [mount + "/dead/talk"]
            default: [mount + "/dead/talk", "--watch"]
            }
        }
        guard site.isMounted() else { return }
        site.waitUntilStuck()
        try site.interrupt(stuck: "a part of toro")
        #expect(site.run.output.contains("/mount/dead"), "\(site.run.output)")
        #expect(site.run.output.contains(" does not answer;"), "\(site.run.output)")
    }

    /// A package here with a part that is there: toro itself waits for its manifest, and SwiftPM for
    /// its sources.
    @Test(arguments: [
        ("toro.json", "a part of toro"), ("Sources/TalkVM/More.swift", "swift-build"),
    ])
    func aPackageThatDoesNotAnswerHoldsNoSignalUp(_ example: (name: String, who: String)) throws {
        let package = try TestPackage(.console)
        let site = try Site(answers: "root") { mount in
            let file = package.path + "/" + example.name
            try? FileManager.default.removeItem(atPath: file)
            try FileManager.default.createSymbolicLink(
                atPath: file, withDestinationPath: mount + "/dead")
            return [package.path]
        }
        guard site.isMounted() else { return }
        site.waitUntilStuck()
        try site.interrupt(stuck: example.who)
    }

    /// Those that nothing ends are waited for at the same time. Here they would end, but nobody asks
    /// them to: who has vforked is in such a wait until its child goes on.
    @Test func manyTakeNoLongerThanOne() throws {
        let program = try #require(Images.tool("DeadMount"), "DeadMount is not built")
        let parts = try (0..<40).map { number in
            try Part(Part.Start(name: "part \(number)", program: program, arguments: []))
        }
        defer { for part in parts { kill(-part.pid, SIGKILL) } }
        let start = ContinuousClock.now
        let words = Part.awaitEnds(of: parts)
        // One second each, one after the other, would be 40.
        #expect(ContinuousClock.now - start < .seconds(30))
        #expect(words.count == parts.count)
        for (part, words) in zip(parts, words) {
            #expect(words.contains("\(part.name), process \(part.pid), cannot be ended"))
        }
    }
}
