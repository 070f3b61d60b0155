import Foundation
import Testing

@testable import Launcher

/// What a file daemon is given, seen by a script in its place.
@Suite struct ShareTests {
    private final class Folder {
        let path = NSTemporaryDirectory() + "toro-view-\(UUID().uuidString)"

        init() throws { try make("") }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        func make(_ name: String) throws {
            try FileManager.default.createDirectory(
                atPath: path + "/" + name, withIntermediateDirectories: true)
        }

        func write(_ text: String, _ name: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }
    }

    /// Starts a script as the share's daemon and returns what it said; the share is in `$share`.
    private func ask(_ share: Share, _ script: String) throws -> String {
        let folder = try Folder()
        let text =
            "#!/bin/sh\nshare=$(echo \"$*\" | sed 's/.*source=\\([^ ]*\\).*/\\1/')\n" + script
        // By another process: what is open for writing in one that forks cannot be executed.
        let made = try Command.capture(
            "/bin/sh",
            [
                "-c", "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh", folder.path + "/daemon",
                text,
            ])
        #expect(made.status == 0, "\(made.output)")
        let daemon = FileDaemon(path: folder.path + "/daemon", help: "")
        // Any descriptor will do for one that nobody listens on.
        let (reader, writer) = try makePipe()
        defer { for file in [reader, writer] { close(file) } }
        let part = try Part(anyOf: share.starts(daemon, listener: reader))
        part.awaitEnd()
        part.readErrors()
        return String(decoding: part.lastWords, as: UTF8.self)
    }

    /// A folder above a link is above what it leads to, for the kernel.
    @Test func aFolderIsFoundAsTheKernelFindsIt() throws {
        let folder = try Folder()
        try folder.make("there/real")
        try folder.make("here")
        try folder.write("", "there/wanted")
        try folder.write("", "here/unwanted")
        try FileManager.default.createSymbolicLink(
            atPath: folder.path + "/here/link", withDestinationPath: folder.path + "/there/real")
        // Foundation's own reading differs for relative paths only.
        let depth = FileManager.default.currentDirectoryPath.split(separator: "/").count
        let base = String(repeating: "../", count: depth) + folder.path.dropFirst()
        let above = try Share(tag: "a", folder: base + "/here/link/..")
        #expect(try ask(above, "ls $share") == "real\nwanted\n")
        try folder.write("", "there/real/inside")
        let link = try Share(tag: "a", folder: folder.path + "/here/link")
        #expect(try ask(link, "ls $share") == "inside\n")
        #expect(realPath(base + "/here/link/..") == realPath(folder.path + "/there"))
    }

    /// What takes the folder's name after it was opened is never served, let alone unprotected.
    @Test(arguments: ["", ":rw"]) func theFolderThatWasNamedIsServed(_ mode: String) throws {
        let folder = try Folder()
        try folder.make("site")
        try folder.make("other")
        try folder.write("", "site/meant")
        try folder.write("", "other/secret")
        let share = try Share(parsing: "site=\(folder.path)/site\(mode)")
        let files = FileManager.default
        try files.moveItem(atPath: folder.path + "/site", toPath: folder.path + "/moved")
        try files.createSymbolicLink(
            atPath: folder.path + "/site", withDestinationPath: folder.path + "/other")
        let answer = try ask(share, "ls $share; touch $share/new && echo written")
        if mode.isEmpty {
            #expect(answer.hasPrefix("meant\n"))
            #expect(answer.contains("Read-only file system"))
            #expect(!files.fileExists(atPath: folder.path + "/moved/new"))
        } else {
            #expect(answer == "meant\nwritten\n")
            #expect(files.fileExists(atPath: folder.path + "/moved/new"))
        }
        #expect(!files.fileExists(atPath: folder.path + "/other/new"))
    }

    /// Outside of its folder a daemon changes nothing, not even where everybody may.
    @Test(arguments: ["", ":rw"]) func allElseIsReadOnly(_ mode: String) throws {
        let folder = try Folder()
        try folder.make("site")
        let share = try Share(parsing: "site=\(folder.path)/site\(mode)")
        let answer = try ask(
            share,
            "touch \(folder.path)/outside; echo x >/proc/self/comm; echo x >/dev/null && echo null")
        let lines = answer.split(separator: "\n")
        #expect(lines.filter { $0.contains("Read-only file system") }.count == 2, "\(answer)")
        #expect(lines.last == "null", "\(answer)")
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/outside"))
    }

    /// Neither whoever serves a share nor what is in it gains rights by the other.
    @Test func aDaemonMakesNothingThatGivesRights() throws {
        let folder = try Folder()
        try folder.write("", "file")
        let share = try Share(parsing: "site=\(folder.path):rw")
        let answer = try ask(
            share,
            """
            cd $share
            for mode in 755 4755 2755; do chmod $mode file && echo $mode; done
            mknod device c 1 3 && echo device
            mknod pipe p && echo pipe
            grep NoNewPrivs /proc/self/status
            id -u
            wc -l </proc/self/uid_map
            """)
        let lines = answer.split(separator: "\n").map(String.init)
        #expect(
            lines.filter { !$0.contains("not permitted") } == [
                "755", "pipe", "NoNewPrivs:\t1", "0", "1",
            ])
        #expect(lines.filter { $0.contains("not permitted") }.count == 3)
    }

    /// Whoever takes over a part connects to nobody.
    @Test func aPartMakesNoConnections() throws {
        let script = "exec 3<>/dev/tcp/127.0.0.1/9"
        let share = try Share(tag: "a", folder: "/tmp")
        #expect(try ask(share, "bash -c '\(script)'").contains("Operation not permitted"))
        let start = Part.Start(name: "a part", program: "/bin/bash", arguments: ["-c", script])
        let part = try Part(anyOf: start.unprivileged())
        part.awaitEnd()
        part.readErrors()
        let words = String(decoding: part.lastWords, as: UTF8.self)
        #expect(words.contains("Operation not permitted"), "\(words)")
    }

    /// A program that only root may start says so; it is not started as root instead.
    @Test(.enabled(if: geteuid() == 0)) func aProgramForRootOnlyIsNamed() throws {
        let folder = try Folder()
        let made = try Command.capture(
            "/bin/sh", ["-c", "cp /bin/true \"$1\" && chmod 700 \"$1\"", "sh", folder.path + "/p"])
        #expect(made.status == 0, "\(made.output)")
        let start = Part.Start(name: "a part", program: folder.path + "/p", arguments: [])
        #expect {
            _ = try Part(anyOf: start.unprivileged())
        } throws: { "\($0)".contains("not for all users") }
    }

    /// Where there is no namespace to make a folder read-only, a filter refuses whatever changes a
    /// file, as a file system that is read-only would.
    @Test func aFilterKeepsAFolderAsItIs() throws {
        let folder = try Folder()
        try folder.write("text", "file")
        var start = Part.Start(
            name: "a part", program: "/bin/sh",
            arguments: [
                "-c",
                """
                cd \(folder.path) && cat file
                touch new; echo x >file; echo x >>file; rm file; mv file other; mkdir d; chmod 600 file
                ln file link; ln -s file link; truncate -s 0 file; touch file; mkfifo pipe
                chown 1 file; touch -d 2000-01-01 file
                """,
            ])
        start.confinement.isRestricted = true
        start.confinement.changesNothing = true
        let part = try Part(start)
        part.awaitEnd()
        part.readErrors()
        let words = String(decoding: part.lastWords, as: UTF8.self)
        #expect(words.hasPrefix("text"), "\(words)")
        let refusals = words.split(separator: "\n").filter { $0.contains("Read-only file system") }
        #expect(refusals.count >= 14, "\(words)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["file"])
        #expect(try String(contentsOfFile: folder.path + "/file", encoding: .utf8) == "text")
    }

    /// The daemon of a launcher that is root is the folder's owner outside, and alone.
    @Test(.enabled(if: geteuid() == 0)) func aWritableFolderIsServedByItsOwner() throws {
        let folder = try Folder()
        // SAFETY: the path is a C string for the call.
        #expect(unsafe chown(folder.path, 1234, 2345) == 0)
        let share = try Share(parsing: "site=\(folder.path):rw")
        let answer = try ask(
            share,
            "cat /proc/self/uid_map /proc/self/gid_map; id -G; echo >$share/new; chown 0 $share/new || echo no; chown 1 $share/new || echo no"
        )
        let words = answer.split(whereSeparator: \.isWhitespace)
        #expect(words.prefix(7) == ["0", "1234", "1", "0", "2345", "1", "0"], "\(answer)")
        #expect(words.filter { $0 == "no" }.count == 1, "\(answer)")
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        #expect(unsafe stat(folder.path + "/new", &status) == 0)
        #expect(status.st_uid == 1234 && status.st_gid == 2345)
    }
}
