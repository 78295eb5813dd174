/* cc -std=c99 -ffp-contract=off -o check_add check_add.c -lm
   ./check_add add_body.csv */
#include <math.h>
#include "read_vectors.h"

/* Put your own here. This is the cheat sheet's: add, vector body. */
static int add(int qa, double sa, int za, int qb, double sb, int zb,
               double s, int z)
{
    float a = fmaf((float)sa, (float)qa, (float)sa * (float)-za);
    float b = fmaf((float)sb, (float)qb, (float)sb * (float)-zb);
    float q = rintf((a + b) * (1.0f / (float)s)) + (float)z;
    return (int)fminf(fmaxf(q, 0), 255);
}

int main(int count, char **names)
{
    FILE *file = count == 2 ? fopen(names[1], "r") : NULL;
    double v[COLUMNS]; /* qa, qb, sa, za, sb, zb, s, z, q */
    long rows = 0, differ = 0;
    if (!file)
        return 2;
    read_row(file, v); /* the names */
    while (read_row(file, v) == 9) {
        int q = add((int)v[0], v[2], (int)v[3], (int)v[1], v[4], (int)v[5],
                    v[6], (int)v[7]);
        rows++;
        differ += q != (int)v[8];
    }
    fclose(file);
    printf("%ld rows, %ld differ\n", rows, differ);
    return differ != 0;
}
