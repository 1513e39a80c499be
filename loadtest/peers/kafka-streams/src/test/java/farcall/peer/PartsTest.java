package farcall.peer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The parts that know nothing of Kafka. */
class PartsTest {
    @TempDir
    Path dir;

    static Path table(Path dir) throws IOException {
        return Files.writeString(dir.resolve("places.tsv"), """
                1.0.0.0\t1.0.0.255\tAU
                8.8.8.0\t8.8.8.255\tUS
                8.8.9.0\t8.8.9.255\t-
                78.0.0.0\t79.255.255.255\tDE
                200.0.0.0\t200.255.255.255\taws:sa-east-1
                2a00::\t2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff\tFR
                """);
    }

    @Test
    void places() throws IOException {
        Places.Lookup p = Places.read(table(dir)).lookup();
        String[][] want = {{"8.8.8.8", "US"}, {"8.8.8.0", "US"}, {"8.8.8.255", "US"}, {"8.8.9.1", ""}, {"8.8.7.255", ""}, {"1.0.0.0", "AU"},
            {"0.0.0.0", ""}, {"255.255.255.255", ""}, {"79.255.255.255", "DE"}, {"200.1.2.3", "aws:sa-east-1"}, {"10.0.0.1, 78.1.1.1, 8.8.8.8", "DE"},
            {"8.8.9.1, 78.1.1.1", ""}, {"::ffff:8.8.8.8", "US"}, {"2a00:1::5%eth0", "FR"}, {"2b00::", ""}, {" 8.8.8.8 ", "US"}, {"08.8.8.8", ""},
            {"8.8.8.256", ""}, {"8.8.8", ""}, {"ec2.amazonaws.com", ""}, {"AWS Internal", ""}, {"", ""}, {"2a00:1:2:3:4:5:6:7", "FR"},
            {"2a00:1:2:3:4:5:6:7:8", ""}, {"2a00:::1", ""}, {"2a00::1::2", ""}, {"2a00::1.2.3.4", "FR"}};
        for (int round = 0; round < 2; round++) { // looked up, then remembered
            for (String[] w : want) {
                assertEquals(w[1], new String(p.locate(new Text(w[0]))), w[0]);
            }
        }
    }

    @Test
    void disorderInTheTable() throws IOException {
        Path bad = Files.writeString(dir.resolve("bad.tsv"), "8.8.8.0\t8.8.8.255\tUS\n1.0.0.0\t1.0.0.255\tAU\n");
        assertThrows(IOException.class, () -> Places.read(bad));
    }

    @Test
    void toldOnce() {
        Told told = new Told();
        assertTrue(told.first(10, 5));
        assertEquals(false, told.first(10, 5));
        assertTrue(told.first(11, 5));
        assertTrue(told.first(12, 5));
        assertEquals(false, told.first(10, 5));
        assertTrue(told.first(13, 5)); // forgets 10
        assertTrue(told.first(10, 5));
        assertTrue(told.first(10, 5)); // too old to be remembered
        assertEquals(false, told.first(11, 5));
        for (long h = 1; h < 100_000; h++) {
            assertTrue(told.first(13, h << 32 | h | 1L << 60));
        }
        for (long h = 1; h < 100_000; h++) {
            assertEquals(false, told.first(13, h << 32 | h | 1L << 60));
        }
    }

    @Test
    void tally() {
        Random random = new Random(3);
        Tally t = new Tally();
        Map<Long, Integer> want = new HashMap<>();
        for (int i = 0; i < 100_000; i++) {
            long principal = ((long) random.nextInt(200) << 32 | random.nextInt(3)) << 2;
            int delta = random.nextBoolean() || !want.containsKey(principal) ? 1 : -1;
            t.add(principal, delta);
            if (want.merge(principal, delta, Integer::sum) == 0) {
                want.remove(principal);
            }
            if (i % 1000 == 0) {
                Map<Long, Integer> got = new HashMap<>();
                t.copy().each(got::put);
                assertEquals(want, got);
                assertEquals(want.size(), t.size());
            }
        }
    }

    @Test
    void cells() {
        Cell c = new Cell();
        for (int i = 0; i < 32; i++) {
            long h = i * 0x9E3779B97F4A7C15L & ~3L; // some are negative: the order is that of unsigned numbers
            assertEquals(0, c.known(h));
            c.add(h, Visit.DENIED);
            c.add(h, i % 2 == 0 ? Visit.ALLOWED : Visit.DENIED);
            assertEquals(i % 2 == 0 ? 3 : Visit.DENIED, c.known(h));
        }
        assertEquals(16, c.visits());
        byte[] form = c.encode();
        assertEquals(1 + 32 * 8, form.length);
        for (int i = 9; i + 8 <= form.length; i += 8) {
            assertTrue(java.util.Arrays.compareUnsigned(form, i - 8, i, form, i, i + 8) < 0);
        }
        assertArrayEquals(form, new Cell(form).encode());
        assertTrue(c.spellsOut(0));
        assertEquals(false, c.spellsOut(4));
        c.add(4, Visit.ALLOWED);
        assertEquals(257, c.encode().length);
        assertArrayEquals(c.encode(), new Cell(c.encode()).encode());
        assertEquals(Visit.ALLOWED, c.known(4) & Visit.ALLOWED);
        assertEquals(17, c.visits(), 1);
    }

    @Test
    void scores() {
        assertEquals(50, Score.of(0.0026));
        assertEquals(0, Score.of(0.1));
        assertEquals(0, Score.of(1));
        assertEquals(100, Score.of(6e-5));
        assertTrue(Score.of(Score.probability(200, 0, 0, 0, false)) >= 50);
        assertTrue(Score.of(Score.probability(20, 0, 0, 0, false)) < 25);
        assertEquals(1, Score.probability(200, 150, 1, 50, true));
    }
}
