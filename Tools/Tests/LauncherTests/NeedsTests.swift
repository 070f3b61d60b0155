import Foundation
import Testing
import ToroTesting

@testable import Launcher

@Suite struct ManifestTests {
    private func manifest(_ text: String) throws(LaunchError) -> Manifest {
        try Manifest(Data(text.utf8), name: "toro.json")
    }

    @Test func readsItsOwnExample() throws {
        let manifest = try manifest(
            """
            { "product": "P", "memory": "16M",
              "shares": [ { "tag": "site", "purpose": "files", "folder": "site" } ],
              "ports": [ { "guest": 80, "host": 8080, "scheme": "http" } ] }
            """)
        #expect(manifest.product == "P")
        #expect(manifest.shares?.first?.folder == "site")
        #expect(manifest.ports?.first?.guest == 80)
    }

    @Test(arguments: [
        ("", "no JSON"), ("[]", "wrong type"), (#"{"memory": 16}"#, "memory has the wrong type"),
        (#"{"memory": "lots"}"#, "memory is an amount"), (#"{"shares": [{}]}"#, "lacks \"tag\""),
        (#"{"shares": [{"tag": ""}]}"#, "1 to 36 bytes"),
        (#"{"ports": [{"guest": -1}]}"#, "toro.json"),
    ])
    func saysWhatIsWrong(_ example: (text: String, words: String)) {
        #expect {
            _ = try manifest(example.text)
        } throws: {
            let error = $0 as? LaunchError
            return error?.status == 64 && error?.description.contains(example.words) == true
        }
    }

    /// What goes into an image comes out again, but for the folders, and always in the same bytes.
    @Test func anImageKeepsItsNeedsAndNoFolder() throws {
        let manifest = try manifest(
            #"{"shares": [{"folder": "site", "tag": "site"}], "ports": [{"guest": 80}]}"#)
        let note = ImageNote.encode(manifest.embedded)
        #expect(note.count % 4 == 0)
        #expect(note == ImageNote.encode(manifest.embedded))
        #expect(!String(decoding: note, as: UTF8.self).contains("folder"))
    }
}

@Suite struct ImageNoteTests {
    /// An ELF file with one section, which holds `note`.
    private func image(_ note: Data) -> [UInt8] {
        var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 57)
        let table = 64 + note.count
        bytes += note
        func put(_ value: Int, _ offset: Int, _ size: Int) {
            for index in 0..<size { bytes[offset + index] = UInt8(value >> (8 * index) & 255) }
        }
        put(table, 0x28, 8)
        put(64, 0x3a, 2)
        put(1, 0x3c, 2)
        bytes += [UInt8](repeating: 0, count: 64)
        put(7, table + 4, 4)
        put(64, table + 24, 8)
        put(note.count, table + 32, 8)
        return bytes
    }

    @Test func findsWhatWasEncoded() {
        for length in [0, 1, 4, 1_000] {
            let text = Data((0..<length).map { UInt8(truncatingIfNeeded: $0) })
            #expect(ImageNote.find(in: Data(image(ImageNote.encode(text)))) == text)
        }
    }

    @Test func whatIsCutShortIsNone() {
        let whole = image(ImageNote.encode(Data("{}".utf8)))
        for length in 0..<whole.count {
            #expect(ImageNote.find(in: Data(whole.prefix(length))) == nil)
        }
    }

    /// Images from anywhere: no byte of theirs leads outside the file.
    @Test(arguments: FuzzSeeds.all(1...10)) func survivesNonsense(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { survive(seed) }
    }

    private func survive(_ seed: UInt64) {
        let whole = image(ImageNote.encode(Data("{}".utf8)))
        var random = SeededRandom(seed: seed)
        for _ in 0..<5_000 {
            var broken = whole
            for _ in 0..<1 + random.below(4) {
                broken[4 + random.below(broken.count - 4)] = UInt8(random.below(256))
            }
            if let found = ImageNote.find(in: Data(broken)) { #expect(found.count <= whole.count) }
            // A section that has become a symbol table has as many symbols as it has room for.
            if let elf = ELFImage(broken) { #expect(elf.symbols.count <= broken.count / 24) }
            _ = TextSection(of: broken)?.isBehindCall(UInt64(random.below(201)))
        }
    }
}

@Suite struct OptionTests {
    @Test func portsAreReadWithAndWithoutHost() throws {
        #expect(try PublishedPort(parsing: "8080:80").description == "127.0.0.1:8080:80")
        let all = try PublishedPort(parsing: "0.0.0.0:80:443")
        #expect(all.host == "0.0.0.0" && all.address == "127.0.0.1:80")
        #expect(try PublishedPort(parsing: "[::1]:8080:80").host == "[::1]")
        for text in ["", "80", "x:80", "80:x", "65536:80", "80:4294967296", "-1:80"] {
            #expect(throws: LaunchError.self) { try PublishedPort(parsing: text) }
        }
    }

    @Test func memoryIsReadAsQEMUDoes() throws {
        #expect(try MemorySize(parsing: "32").bytes == 32 << 20)
        #expect(try MemorySize(parsing: "2g").description == "2G")
        let wrong = [
            "", "0", "1M", "M", "32T", "-5", "+5", "2049G", "4097K", "99999999999999999999G", "32ß",
            "32ᴍ", "٣٢M", "32M\u{301}",
        ]
        for text in wrong {
            #expect(throws: LaunchError.self) { try MemorySize(parsing: text) }
        }
    }

    @Test func sharesAreReadOnlyUnlessSaid() throws {
        #expect(try !Share(parsing: "site=/tmp").isWritable)
        let share = try Share(parsing: "site=/tmp:rw")
        #expect(share.isWritable && share.folder == "/tmp")
        for text in ["site", "=/tmp", "site=/no/such", "site=/etc/passwd"] {
            #expect(throws: LaunchError.self) { try Share(parsing: text) }
        }
    }

    @Test func whatAnImageNeedsIsAskedFor() throws {
        let manifest = try Manifest(
            Data(
                #"{"shares":[{"tag":"a","purpose":"texts","folder":"tmp"}],"ports":[{"guest":80}]}"#
                    .utf8),
            name: "toro.json")
        // An image alone names no folder; a package has its own.
        #expect {
            _ = try Needs(manifest, package: nil).shares(given: [])
        } throws: { "\($0)".contains("--share a=FOLDER") && "\($0)".contains("texts") }
        let shares = try Needs(manifest, package: "/").shares(given: [])
        #expect(shares.map(\.folder) == ["/tmp"])
        let given = try Share(tag: "a", folder: "/etc")
        #expect(try Needs(manifest, package: "/").shares(given: [given]).map(\.folder) == ["/etc"])
        #expect(throws: LaunchError.self) {
            try Needs(manifest, package: nil).shares(given: [given, given])
        }
        #expect(try Needs(manifest, package: nil).ports(given: []).map(\.guestPort) == [80])
    }
}

@Suite struct ConsoleFilterTests {
    private func pass(_ text: String, pieces: Int) -> (text: String, lines: [String]) {
        var filter = ConsoleFilter()
        var output: [UInt8] = []
        let bytes = Array(text.utf8)
        var at = 0
        while at < bytes.count {
            output += filter.take(Array(bytes[at..<min(at + pieces, bytes.count)]))
            at += pieces
        }
        output += filter.finish()
        return (String(decoding: output, as: UTF8.self), filter.panicLines)
    }

    @Test(arguments: [1, 2, 7, 1000]) func reportsAreTakenOut(_ pieces: Int) {
        let text = "hello\ntoro: panic: cause x\r\ntoro: hm\ntoro: panic: end\ntoro: pan"
        let (output, lines) = pass(text, pieces: pieces)
        #expect(output == "hello\ntoro: hm\ntoro: pan")
        #expect(lines == ["cause x", "end"])
        let report = PanicReport(lines: lines)
        #expect(report?.cause == "x" && report?.isComplete == true)
    }

    @Test func aGuestCannotFillTheMemory() {
        let line = "toro: panic: " + String(repeating: "x", count: 1_000) + "\n"
        let (output, lines) = pass(String(repeating: line, count: 2_000), pieces: 4_096)
        #expect(lines.count < 300)
        #expect(output.utf8.count > 1_500 * 1_000)
    }
}
