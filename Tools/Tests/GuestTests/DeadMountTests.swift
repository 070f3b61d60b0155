import Foundation
import Launcher
import LoadClient
import Testing
import ToroTesting

/// Shares of a file system that does not answer: whoever waits for it cannot be ended, not even by
/// SIGKILL, and `toro run` ends all the same.
@Suite(.serialized) struct DeadMountTests {
    /// A run for which a dead file system is mounted.
    private final class Site {
        let folder: TestFolder
        let run: ToroProcess
        private let mark: String
        private var server: Int32?

        /// Runs a guest with the share `path` of a mount that answers `answers` (see DeadMount).
        init(answers: String, path: String) throws {
            folder = try TestFolder()
            mark = folder.path + "/mark"
            let mount = folder.path + "/mount"
            try FileManager.default.createDirectory(
                atPath: mount, withIntermediateDirectories: false)
            let program = try #require(Images.tool("DeadMount"), "DeadMount is not built")
            run = try ToroProcess(
                ["run", try Images.webProbe().path, "-v", "site=\(mount)\(path)", "-p", "0:80"],
                prefix: [program, answers, mount, mark])
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
            let left = parts.filter { isThere($0.pid) }
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
}
