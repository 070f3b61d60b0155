import Foundation
import Launcher
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// Who may keep `toro run` waiting, and who may not.
@Suite(.serialized) struct PatienceTests {
    /// More than the pipe holds, so that the machine has ended before its last words are read.
    @Test func aSlowReaderGetsEverything() throws {
        let mark = try TestFolder()
        let ended = mark.path + "/ended"
        try mark.write([], to: Path("ended"))
        // The machine runs as another user.
        try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: ended)
        let (folder, path) = try TestFolder.inPath(
            "qemu-system-x86_64", "cat >/dev/null <&0; seq 1 15000; echo >\(ended); exit 3")
        defer { _ = folder }
        let run = try ToroProcess(
            ["run", "-q", try Images.probe().path], path: path, isRead: false)
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        func isRunning() -> Bool {
            FileManager.default.contents(atPath: ended)?.isEmpty != false
                || run.parts.contains { $0.name.hasPrefix("qemu") && ToroProcess.isAlive($0.pid) }
        }
        while isRunning(), Date() < limit { usleep(10_000) }
        #expect(!isRunning(), "\(run.parts)")
        sleep(2)
        run.read()
        #expect(run.status() == 0)
        let lines = run.output.split(separator: "\n")
        #expect(lines.count == 15_000 && lines.last == "15000", "\(run.output.suffix(300))")
    }

    /// A guest whose words nobody takes waits with them: the pipes and the port are full meanwhile.
    @Test func aGuestLosesNoWordToASlowReader() throws {
        let count = 8_000
        let run = try ToroProcess(
            ["run", "-q", try Images.probe().path, "-e", "LINES=\(count)", "--", "talk"],
            isRead: false)
        sleep(8)
        run.read()
        #expect(run.status() == 0, "\(run.output.suffix(300))")
        let lines = run.output.replacingOccurrences(of: "\r", with: "").split(separator: "\n")
        let expected = (0..<count).map {
            "\($0) is a number, and a line has to be long to be a long one"
        }
        #expect(lines.count == count + 1)
        let wrong = zip(lines.dropFirst(), expected).first { $0 != $1 }
        #expect(wrong == nil, "\(String(describing: wrong))")
    }

    /// A daemon that hangs in a mount cannot be asked to end.
    @Test func aHangingShareHoldsNoSignalUp() throws {
        let folder = try TestFolder()
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "-v", "site=\(folder.path)", "-p", "0:80",
            ])
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        for part in parts where part.name == "virtiofsd" { kill(part.pid, SIGSTOP) }
        #expect(parts.contains { $0.name == "virtiofsd" }, "\(parts)")
        run.signal(SIGINT)
        #expect(run.status() == 128 + SIGINT, "\(run.output)")
        #expect(!parts.contains { ToroProcess.isAlive($0.pid) })
    }

    /// The guest listens on 80 only.
    @Test @Core func aPortThatNobodyServesIsNamed() async throws {
        let folder = try TestFolder()
        try folder.write(Array("a page".utf8), to: "a.txt")
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "-v", "site=\(folder.path)", "-p", "0:80",
                "-p", "0:81", "--ready-time", "1",
            ])
        #expect(run.waits(for: "does not listen on its port 81"), "\(run.output)")
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let mark = "127.0.0.1:"
        let words = run.output.replacingOccurrences(of: "\n", with: " ")
        func port(behind text: String) throws -> UInt16 {
            let start = try #require(words.range(of: text)?.upperBound, "\(words)")
            let place = try #require(words.range(of: mark, range: start..<words.endIndex))
            return try #require(UInt16(words[place.upperBound...].prefix { $0.isNumber }))
        }
        let answer = try await {
            let stream = try await HostStream.connect(port: try port(behind: "ready: "))
            defer { stream.close() }
            return try await stream.get("/a.txt")
        }()
        #expect(answer.status == 200)
        let stream = try await HostStream.connect(port: try port(behind: "its port 81"))
        defer { stream.close() }
        // Whether the request still leaves is a matter of time.
        try? await stream.send("GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(await HTTPAnswerReader(stream).next() == nil)
        run.signal(SIGTERM)
        #expect(run.status() == 128 + SIGTERM)
    }
}
