import Foundation
import Launcher
import Testing

/// `toro` as a user runs it who is not root and has groups, as every user has.
@Suite struct OrdinaryUserTests {
    @Test func sharesNeedNoRoot() throws {
        let files = FileManager.default
        let folder = NSTemporaryDirectory() + "toro-user-\(UUID().uuidString)"
        try files.createDirectory(
            atPath: folder + "/site", withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o777])
        defer { try? files.removeItem(atPath: folder) }
        try Data("alpha".utf8).write(to: URL(fileURLWithPath: folder + "/site/a.txt"))
        // Where this user may read them: the checkout may be another's.
        let toro = try #require(Images.tool("toro"), "toro is not built")
        try files.copyItem(atPath: toro, toPath: folder + "/toro")
        try files.copyItem(atPath: try Images.probe().path, toPath: folder + "/probe.image")

        let process = Process()
        let arguments = [
            folder + "/toro", "run", folder + "/probe.image", "--share", "site=\(folder)/site",
            "--", "files",
        ]
        if geteuid() == 0 {
            process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
            process.arguments =
                ["--reuid=65534", "--regid=65534", "--groups=65534,65533"] + arguments
        } else {
            process.executableURL = URL(fileURLWithPath: arguments[0])
            process.arguments = Array(arguments.dropFirst())
        }
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.environment = [
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin", "TMPDIR": folder,
        ]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = String(
            decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(output)")
        // The name is printed in hexadecimal.
        #expect(output.contains("612e747874 5 "), "\(output)")
    }
}
