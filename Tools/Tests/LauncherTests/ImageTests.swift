import Foundation
import Testing

@testable import Launcher

/// What goes out of a build, and what is found beside it later.
@Suite final class ImageTests {
    private let folder = NSTemporaryDirectory() + "toro-image-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// The note by which QEMU finds where a program begins.
    private static let note = #"""
        __asm__(".pushsection .note.Xen, \"a\", @note\n.long 4, 4, 18\n.asciz \"Xen\"\n"
                ".long 0\n.popsection");
        """#

    /// A program that returns a number, with its symbols and stripped, as a build leaves both.
    private func build(_ name: String, returning number: Int) throws -> Image {
        let source = "\(folder)/\(name).c"
        try (ImageTests.note + "\nint _start(void) { return \(number); }").write(
            toFile: source, atomically: true, encoding: .utf8)
        let program = "\(folder)/\(name)"
        let clang = try #require(Command.findTool("clang"))
        let strip = try #require(Command.findTool("llvm-objcopy"))
        let flags = ["-nostdlib", "-static", "-fuse-ld=lld", "-Wl,--build-id=none", "-g"]
        for (tool, arguments) in [
            (clang, flags + [source, "-o", program]),
            (strip, ["--strip-all", program, program + ".image"]),
        ] {
            let ended = try Command.capture(tool, arguments)
            #expect(ended.status == 0, "\(ended.output)")
        }
        return try Image(file: program + ".image")
    }

    @Test func aBuildsOwnSymbolsAreFound() throws {
        let image = try build("one", returning: 1)
        #expect(image.symbols == folder + "/one")
        #expect(image.staleSymbols == nil)
    }

    /// Said before anything is started.
    @Test func aProgramIsNoImage() throws {
        let program = try #require(Command.find("true"))
        #expect {
            _ = try Image(file: program)
        } throws: { error in
            "\(error)".contains("no PVH note") && (error as? LaunchError)?.status == 64
        }
    }

    /// Notes may say anything of their lengths.
    @Test(
        arguments: [0, 4, 0x7fff_ffff, 0xffff_ffff] as [UInt32], [0, 5, 0xffff_ffff] as [UInt32])
    func aNoteBehindAnotherIsFound(_ name: UInt32, _ description: UInt32) {
        func bytes(_ words: [UInt32]) -> [UInt8] {
            words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
        }
        let isWhole = name < 9 && description < 9
        let space = [UInt8](
            repeating: 0, count: isWhole ? Int((name + 3) / 4 * 4 + (description + 3) / 4 * 4) : 8)
        let notes = bytes([name, description, 3]) + space + bytes([4, 0, 18, 0x6e_6558])
        var image: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1] + [UInt8](repeating: 0, count: 58)
        image[0x20] = 64  // where the program headers are
        image[0x36] = 56  // their size
        image[0x38] = 1  // and number
        image[0x3a] = 64  // the size of a section header, of which there is one
        image[0x3c] = 1
        image[0x28] = 120
        image += bytes([4, 4, 184, 0, 0, 0, 0, 0, UInt32(notes.count), 0, 0, 0, 4, 0])
        image += [UInt8](repeating: 0, count: 64) + notes
        #expect(ELFImage(image)?.hasPVHEntry == isWhole)
    }

    @Test func symbolsOfAnotherBuildAreNotUsed() throws {
        let target = try build("one", returning: 1).export(to: folder + "/out.image")
        let other = try build("two", returning: 2)
        #expect(try Image(file: target).symbols == target + ".debug")
        try FileManager.default.removeItem(atPath: target + ".debug")
        #expect(try Image(file: target).symbols == target)
        for bytes in [FileManager.default.contents(atPath: other.symbols), Data("ELF".utf8)] {
            try #require(bytes).write(to: URL(fileURLWithPath: target + ".debug"))
            let image = try Image(file: target)
            #expect(image.symbols == target)
            #expect(image.staleSymbols == target + ".debug")
        }
    }

    @Test func aFolderKeepsWhatIsInIt() throws {
        let image = try build("one", returning: 1)
        let out = folder + "/out"
        try FileManager.default.createDirectory(
            atPath: out + "/kept", withIntermediateDirectories: true)
        for _ in 0..<2 { #expect(try image.export(to: out) == out + "/one.image") }
        let names = try FileManager.default.contentsOfDirectory(atPath: out)
        #expect(names.sorted() == ["kept", "one.image", "one.image.debug"])
    }

    @Test func whatCannotBeReplacedStays() throws {
        let image = try build("one", returning: 1)
        #expect(throws: LaunchError.self) { try image.export(to: "/dev/null") }
        #expect(throws: LaunchError.self) { try image.export(to: folder + "/missing/") }
        #expect(throws: LaunchError.self) { try image.export(to: folder + "/missing/out.image") }
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(names.sorted() == ["one", "one.c", "one.image"])
    }
}
