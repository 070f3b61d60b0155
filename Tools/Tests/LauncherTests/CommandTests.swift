import Foundation
import Testing

@testable import Launcher

@Suite struct CommandTests {
    @Test func programsThatAreNotThereAreNil() {
        #expect(Command.find("no-such-program-anywhere") == nil)
        #expect(Command.find("sh") != nil)
    }

    @Test(arguments: [("exit 3", 3), ("kill -TERM $$", 128 + SIGTERM)])
    func statusesAreAShells(_ example: (script: String, status: Int32)) throws {
        let ended = try Command.capture("/bin/sh", ["-c", example.script])
        #expect(ended.status == example.status)
    }

    @Test func bothOutputsAreCapturedAsTheyCome() throws {
        var pieces: [UInt8] = []
        let script = "echo out; echo err >&2; head -c 300000 /dev/zero"
        let ended = try Command.capture("/bin/sh", ["-c", script]) { pieces += $0 }
        #expect(ended.output.hasPrefix("out\nerr\n"))
        #expect(ended.output.utf8.count == 300_008)
        #expect(pieces == Array(ended.output.utf8))
    }

    // The second one is in a session of its own and holds the pipe that is read.
    @Test(arguments: ["sleep 600", "setsid sleep 600 & sleep 600"])
    func aHangingProgramIsEnded(_ script: String) throws {
        let ended = try Command.capture("/bin/sh", ["-c", script], limit: 0.5)
        #expect(ended.status == 128 + SIGKILL)
    }

    @Test func whatAProgramLeavesIsEndedWithIt() throws {
        // The shell ends when the three have said who they are.
        let script = """
            trap exit USR1
            setsid sh -c 'sleep 600 & echo $!; sleep 600 & echo $!; echo $$; kill -USR1 $0; wait' $$ &
            wait
            """
        let ended = try Command.capture("/bin/sh", ["-c", script])
        let left = ended.output.split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }
        #expect(left.count == 3, "\(ended.output)")
        for pid in left { #expect(kill(pid, 0) != 0) }
    }
}

@Suite struct ConsolePassTests {
    @Test func aReaderThatDoesNotReadHoldsNothingUp() throws {
        let guest = try makePipe()
        let terminal = try makePipe()
        for file in [guest.reader, guest.writer, terminal.reader] {
            _ = fcntl(file, F_SETFL, O_NONBLOCK)
        }
        defer { for file in [guest.reader, terminal.reader, terminal.writer] { close(file) } }
        let pass = ConsolePass(from: guest.reader, to: terminal.writer)
        // A pipe holds 64 KiB: the third turn finds no room, and no more is read then.
        let text = (0..<200_000).map { UInt8(ascii: "a") + UInt8($0 % 26) }
        var said = 0
        var heard: [UInt8] = []
        while said < text.count {
            // SAFETY: the length is the slice's.
            let count = unsafe text[said...].withUnsafeBytes {
                unsafe write(guest.writer, $0.baseAddress, $0.count)
            }
            said += max(0, count)
            for _ in 0..<10 { #expect(pass.move()) }
            #expect(!pass.isIdle || count > 0)
            if count < 0 { heard += readSome(terminal.reader) ?? [] }
        }
        close(guest.writer)
        while !pass.isIdle {
            #expect(pass.move())
            heard += readSome(terminal.reader) ?? []
        }
        while let bytes = readSome(terminal.reader) { heard += bytes }
        #expect(heard == text)
    }

    @Test func aReaderThatIsGoneIsNoticed() throws {
        signal(SIGPIPE, SIG_IGN)
        let guest = try makePipe()
        let terminal = try makePipe()
        let pass = ConsolePass(from: guest.reader, to: terminal.writer)
        _ = writeAll(guest.writer, Array("words\n".utf8))
        close(terminal.reader)
        #expect(!pass.move())
        for file in [guest.reader, guest.writer, terminal.writer] { close(file) }
    }
}
