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

    /// A program that returns a number, with its symbols and stripped, as a build leaves both.
    private func build(_ name: String, returning number: Int) throws -> Image {
        let source = "\(folder)/\(name).c"
        try "int _start(void) { return \(number); }".write(
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
