/* The rows of a .csv of test vectors; a double holds each number exactly. */
#include <stdio.h>
#include <stdlib.h>

enum { COLUMNS = 32 };

/* Read one row; return how many numbers it has: 0 for the line of names, and
   at the end of the file. */
static int read_row(FILE *file, double row[COLUMNS])
{
    char line[1024], *at = line, *end;
    int columns = 0;
    if (!fgets(line, sizeof line, file))
        return 0;
    for (; columns < COLUMNS; at = end + 1) {
        row[columns] = strtod(at, &end);
        if (end == at)
            break;
        columns++;
        if (*end != ',')
            break;
    }
    return columns;
}
