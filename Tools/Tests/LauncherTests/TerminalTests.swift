import Foundation
import Testing
import ToroTesting

@testable import Launcher

/// What a terminal gets of a guest's words.
@Suite struct TerminalTests {
    private func pass(_ bytes: [UInt8], pieces: Int = 1000, color: Bool = true) -> [UInt8] {
        var filter = TerminalFilter(allowsColor: color)
        var result: [UInt8] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            result += filter.take(Array(rest.prefix(pieces)))
            rest = rest.dropFirst(pieces)
        }
        return result + filter.finish()
    }

    @Test(
        arguments: [
            ("text\tü 漢 😀\r\nnext\n", "text\tü 漢 😀\r\nnext\n"),
            ("\u{1b}[31mred\u{1b}[0m \u{1b}[38;2;1;2;3mtrue\u{1b}[m", nil),
            // A terminal is left in its own colours.
            ("\u{1b}[1;31mred", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[2J", "^[[2J"), ("\u{1b}]0;title\u{7}", "^[]0;title^G"),
            ("\u{1b}P q\u{1b}\\", "^[P q^[\\"), ("a\rb", "a^Mb"), ("\u{8}\u{7f}\u{c}", "^H^?^L"),
            ("\u{9b}2J", "\\xc2\\x9b2J"), ("\u{1b}\u{1b}[31m", "^[\u{1b}[31m\u{1b}[0m"),
            ("\u{1b}[31", "^[[31"), ("\u{1b}[?25l", "^[[?25l"), ("\u{1b}c", "^[c"), ("\0", "^@"),
            ("\r\r\n", "\r\r\n"), ("\r", "^M"),
        ] as [(String, String?)])
    func ordersAreShown(_ example: (text: String, shown: String?)) {
        for pieces in [1, 2, 3, 1000] {
            let result = pass(Array(example.text.utf8), pieces: pieces)
            #expect(String(decoding: result, as: UTF8.self) == example.shown ?? example.text)
        }
    }

    @Test func whatIsNoTextIsShown() {
        #expect(pass([0x9b, 0x32, 0xff, 0xc3]) == Array("\\x9b2\\xff\\xc3".utf8))
        #expect(pass([0xed, 0xa0, 0x80]) == Array("\\xed\\xa0\\x80".utf8))
        #expect(shown("a\(RawText.string(of: [0xff, 0x1b]))\u{1b}[31m") == "a\\xff^[^[[31m")
    }

    /// Whatever comes, nothing reaches the terminal but text and colours, however it is cut.
    @Test(arguments: FuzzSeeds.all(1...10)) func nothingElsePasses(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try passNonsense(seed) }
    }

    private func passNonsense(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let alphabet: [UInt8] = [
            0x1b, 0x5b, 0x33, 0x3b, 0x6d, 0x0d, 0x0a, 0x41, 0xc2, 0x9b, 0xe2, 0x82, 0xac, 0x00,
        ]
        for _ in 0..<500 {
            let bytes = (0..<random.below(20)).map { _ in alphabet[random.below(alphabet.count)] }
            let whole = pass(bytes)
            #expect(pass(bytes, pieces: 1 + random.below(4)) == whole)
            let text = try #require(String(validating: whole, as: UTF8.self))
            let harmless = /\u{1b}\[[0-9:;]*m|\r+\n|[\n\t]/.matchingSemantics(.unicodeScalar)
            let left = text.replacing(harmless, with: "")
            let orders = left.unicodeScalars.filter {
                $0.value < 0x20 || 0x7f...0x9f ~= $0.value
            }
            #expect(orders.isEmpty, "\(bytes)")
        }
    }

    /// A terminal gets no orders unless they are wanted; a pipe gets every byte.
    @Test func onlyARawTerminalGetsOrders() throws {
        let orders = Array("\u{1b}[2Jx\n".utf8)
        for (isTerminal, isRaw, wanted) in [
            (true, false, Array("^[[2Jx\n".utf8)), (true, true, orders), (false, false, orders),
        ] {
            let guest = try makePipe()
            var (reader, writer) = try makePipe()
            if isTerminal {
                for file in [reader, writer] { close(file) }
                // SAFETY: both descriptors outlive the call, and nothing else is asked for.
                #expect(unsafe openpty(&reader, &writer, nil, nil, nil) == 0)
                var mode = termios()
                // SAFETY: the structure outlives the calls.
                #expect(unsafe tcgetattr(writer, &mode) == 0)
                unsafe cfmakeraw(&mode)
                #expect(unsafe tcsetattr(writer, TCSANOW, &mode) == 0)
            }
            _ = fcntl(reader, F_SETFL, O_NONBLOCK)
            let pass = ConsolePass(from: guest.reader, to: writer, isRaw: isRaw)
            _ = writeAll(guest.writer, orders)
            close(guest.writer)
            while !pass.isIdle { #expect(pass.move()) }
            var heard: [UInt8] = []
            while heard.count < wanted.count, let bytes = readSome(reader), !bytes.isEmpty {
                heard += bytes
            }
            #expect(heard == wanted)
            for file in [guest.reader, reader, writer] { close(file) }
        }
    }
}
