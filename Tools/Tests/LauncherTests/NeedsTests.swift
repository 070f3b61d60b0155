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
        ("", "no JSON"), ("{\n \"memory\" 3}", "line 2"), ("[]", "must be an object"),
        (#"{"memory": 16}"#, "memory must be text such as \"16M\", not 16"),
        (#"{"memory": "lots"}"#, "memory: memory is an amount"),
        (#"{"shares": [{}]}"#, "shares[0] lacks tag"),
        (#"{"shares": {"tag": "site"}}"#, "shares must be a list"),
        (#"{"shares": [{"tag": ""}]}"#, "shares[0].tag must be text"),
        (#"{"shares": [{"tag": "1234567890123456789012345678901234567"}]}"#, "36 bytes"),
        (#"{"shares": [{"tag": "a"}, {"tag": "a"}]}"#, "shares[1].tag is \"a\", as another"),
        (#"{"shares": [{"tag": "a", "folder": "a\u0000b"}]}"#, "shares[0].folder must be text"),
        (#"{"ports": [{"guest": -1}]}"#, "ports[0].guest must be a number from 0 to 4294967294"),
        (#"{"ports": [{"guest": 80, "host": "8080"}]}"#, "not \"8080\""),
        (#"{"ports": [{"guest": 80.5}]}"#, "not 80.5"), (#"{"ports": [{"guest": true}]}"#, "true"),
        (#"{"ports": [80]}"#, "ports[0] must be an object"),
        (#"{"memroy": "16M"}"#, "memroy is no key: did you mean memory?"),
        (#"{"Memory": "16M"}"#, "did you mean memory?"),
        (#"{"ports": [{"guest": 80, "purpos": "x"}]}"#, "ports[0].purpos is no key: did you mean"),
        (#"{"cpus": 2}"#, "cpus is no key, as product, memory, shares, ports are"),
    ])
    func saysWhatIsWrong(_ example: (text: String, words: String)) {
        #expect {
            _ = try manifest(example.text)
        } throws: {
            let error = $0 as? LaunchError
            return error?.status == 64 && error?.description.contains(example.words) == true
        }
    }

    @Test func allSlipsAreSaidAtOnce() {
        let text =
            #"{"memory": 1, "port": [], "shares": [{"tga": "a"}], "ports": [{"guest": "x"}]}"#
        #expect {
            _ = try manifest(text)
        } throws: { error in
            let lines = "\(error)".split(separator: "\n").map(String.init)
            return lines.count == 6
                && ["port is", "memory", "shares[0].tga", "shares[0] lacks", "ports[0].guest"]
                    .allSatisfy { words in lines.contains { $0.contains(words) } }
        }
    }

    /// A manifest that cannot be read is not taken for one that is not there.
    @Test func aManifestThatCannotBeReadIsNamed() throws {
        let folder = NSTemporaryDirectory() + "toro-manifest-\(UUID().uuidString)"
        let files = FileManager.default
        try files.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? files.removeItem(atPath: folder) }
        #expect(try Manifest(package: folder) == Manifest())
        try files.createSymbolicLink(
            atPath: folder + "/toro.json", withDestinationPath: folder + "/nowhere")
        #expect(throws: LaunchError.self) { try Manifest(package: folder) }
        try files.removeItem(atPath: folder + "/toro.json")
        try files.createDirectory(
            atPath: folder + "/toro.json", withIntermediateDirectories: true)
        #expect(throws: LaunchError.self) { try Manifest(package: folder) }
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
        #expect(try PublishedPort(parsing: "::1:8080:80").address == "[::1]:8080")
        #expect(try PublishedPort(parsing: ":::8080:80").address == "[::1]:8080")
        #expect(try PublishedPort(parsing: "*:8080:80").address == "127.0.0.1:8080")
        for text in ["", "80", "x:80", "80:x", "65536:80", "80:4294967296", "-1:80"] {
            #expect(throws: LaunchError.self) { try PublishedPort(parsing: text) }
        }
    }

    /// QEMU rounds the machine's memory up to 8 KiB, and refuses a back end of another size.
    @Test(
        arguments: [
            ("32", 32 << 20, "32M"), ("2g", 2 << 30, "2G"), ("2500K", 2504 << 10, "2504K"),
            ("2052k", 2056 << 10, "2056K"), ("1.5G", 1536 << 20, "1536M"), ("1T", 1 << 40, "1T"),
            ("2097153B", 2056 << 10, "2056K"), ("2.3M", 2360 << 10, "2360K"),
            ("2048K", 2 << 20, "2M"),
        ] as [(String, UInt64, String)])
    func memoryIsReadAsQEMUDoes(_ example: (text: String, bytes: UInt64, words: String)) throws {
        let size = try MemorySize(parsing: example.text)
        #expect(size.bytes == example.bytes)
        #expect(size.description == example.words)
    }

    @Test(arguments: [
        "", "0", "1M", "M", "32T", "-5", "+5", "2049G", "99999999999999999999G", "32ß", "1.M",
        ".5G",
        "32ᴍ", "٣٢M", "32M\u{301}", "1..5G", "1.5.5G", "1e3M", "0x20M", "32 M",
    ])
    func whatIsNoMemoryIsRefused(_ text: String) {
        #expect(throws: LaunchError.self) { try MemorySize(parsing: text) }
    }

    @Test func sharesAreReadOnlyUnlessSaid() throws {
        #expect(try !Share(parsing: "site=/tmp").isWritable)
        let share = try Share(parsing: "site=/tmp:rw")
        #expect(share.isWritable && share.folder == "/tmp")
        #expect(try !Share(parsing: "site=/tmp:ro").isWritable)
        for text in ["site", "=/tmp", "site=/no/such", "site=/etc/passwd"] {
            #expect(throws: LaunchError.self) { try Share(parsing: text) }
        }
    }

    /// A folder may have any name, that of a mode included.
    @Test func everyNameOfAFolderCanBeWritten() throws {
        let base = NSTemporaryDirectory() + "toro-names-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: base) }
        let all = (1...255).map { UInt8($0) }.filter { $0 != UInt8(ascii: "/") }
        let mode = Array(":rw".utf8)
        for name in [Array(all[..<127]), Array(all[127...]), [0xff], mode, [0x61, 0xcc] + mode] {
            let path = base + "/" + RawText.string(of: name)
            // SAFETY: the path is a C string for the call.
            #expect(unsafe RawText.withCString(path) { unsafe mkdir($0, 0o755) } == 0)
            let share = try Share(parsing: "a=\(path):ro")
            #expect(!share.isWritable && share.folder == path)
            #expect(try Share(parsing: "a=\(path):rw").isWritable)
            #expect(try !Share(parsing: "a=\(path)/").isWritable)
            #expect(realPath(path) == realPath(base).map { $0 + "/" + RawText.string(of: name) })
            #expect(try HostFile.realPath(path) == realPath(path))
            #expect(try HostFile.isFolder(path))
        }
        // The reason is the folder's, and what was meant is guessed.
        for (text, words) in [
            ("a=\(base)/none", "does not exist"), ("a=/etc/passwd", "is no folder"),
            ("a=\(base):RW", ":ro, :rw or nothing"), ("a=", "names no folder"),
        ] {
            #expect {
                try Share(parsing: text)
            } throws: { "\($0)".contains(words) }
        }
    }

    @Test func whatAMachineHasNoPlaceForIsRefusedWithTheNumber() throws {
        let machine = Machine(image: "image")
        try machine.check(shares: 8, ports: 0)
        try machine.check(shares: 7, ports: 20)
        for (shares, ports) in [(9, 0), (8, 1)] {
            #expect {
                try machine.check(shares: shares, ports: ports)
            } throws: {
                ($0 as? LaunchError)?.status == 64 && "\($0)".contains("\(shares) shares")
                    && "\($0)".contains("8 devices")
            }
        }
    }

    /// Its number is in a header of the guest's.
    @Test func aMachineHasAsManyCoresAsAGuestUses() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/../../.."
        let header = try String(
            contentsOfFile: root + "/Platform/microvm/CMicroVM/include/CMicroVM.h", encoding: .utf8)
        #expect(header.contains("TORO_MAXIMUM_CORES = \(Machine.maximumCores) "))
    }

    /// Memory that there is not is refused, whoever sets the limit.
    @Test func memoryIsComparedWithTheHosts() throws {
        var machine = Machine(image: "image")
        machine.memory = "1T"
        #expect {
            try machine.check(shares: 0, ports: 0)
        } throws: { "\($0)".contains("more than there is") }
        let root = NSTemporaryDirectory() + "toro-host-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        func write(_ text: String, _ path: String) throws {
            let url = URL(fileURLWithPath: root + path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        try write("MemTotal:  4096 kB\nMemFree: 1 kB\nSwapTotal: 4096 kB\n", "/proc/meminfo")
        let host = HostMemory(root: root)
        try host.check(MemorySize(parsing: "8M"))
        #expect {
            try host.check(MemorySize(parsing: "8200K"))
        } throws: { "\($0)" == "8200K of RAM is more than there is: this host has 8M" }
        // The second version of control groups: the path's own limit, and that of one above.
        try write("0::/a/b\n", "/proc/self/cgroup")
        try write("max\n", "/sys/fs/cgroup/a/b/memory.max")
        try write("6291456\n", "/sys/fs/cgroup/a/memory.max")
        #expect {
            try host.check(MemorySize(parsing: "7M"))
        } throws: { "\($0)".contains("control group may use 6144K") }
        // The first version.
        try write("3:cpu:/c\n4:memory:/c\n", "/proc/self/cgroup")
        try write("4194304\n", "/sys/fs/cgroup/memory/c/memory.limit_in_bytes")
        #expect(throws: LaunchError.self) { try host.check(MemorySize(parsing: "5M")) }
        try host.check(MemorySize(parsing: "4M"))
    }

    /// What only an image asks for needs somebody's word; a package is its user's.
    @Test func anImagesWishesAreModest() throws {
        func manifest(_ text: String) throws -> Manifest {
            try Manifest(Data(text.utf8), name: "toro.json")
        }
        let large = try manifest(#"{"memory": "1025M"}"#)
        #expect {
            _ = try Needs(large, package: nil).memory(given: nil)
        } throws: { "\($0)".contains("--memory 1025M") }
        #expect(try Needs(large, package: "/").memory(given: nil).description == "1025M")
        let word = try MemorySize(parsing: "3G")
        #expect(try Needs(large, package: nil).memory(given: word) == word)
        let modest = try manifest(#"{"memory": "1G"}"#)
        #expect(try Needs(modest, package: nil).memory(given: nil).description == "1G")
        let low = try manifest(#"{"ports": [{"guest": 80, "host": 1023}]}"#)
        #expect {
            _ = try Needs(low, package: nil).ports(given: [])
        } throws: { "\($0)".contains("--publish 1023:80") }
        #expect(try Needs(low, package: "/").ports(given: []).map(\.port) == [1023])
        let given = try PublishedPort(parsing: "9000:80")
        #expect(try Needs(low, package: nil).ports(given: [given]) == [given])
        let high = try manifest(#"{"ports": [{"guest": 80, "host": 1024}, {"guest": 81}]}"#)
        let ports = try Needs(high, package: nil).ports(given: [])
        #expect(ports.map(\.port) == [1024, 0])
        #expect(ports.allSatisfy { $0.host == "127.0.0.1" })
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
